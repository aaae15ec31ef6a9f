"""Before a long training: the data, the first loss, and whether a handful of slices can be overfitted."""

import statistics
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from pipelines.training.checks.case import (
    Case,
    Course,
    Verdict,
    losses_without_learning,
    prepared_batches,
    train_steps,
)

MIN_RANK: Final = 0.75
"""Halfway between labels that fit no better than those of others (0.5) and ones that always fit best."""

MAX_CONSTANT: Final = 0.05
"""Share of slices without any contrast that is put up with."""

STRUCTURES: Final = 3


def check_data(case: Case, volumes: int) -> Verdict:
    """See on some training volumes that images have contrast and that their labels are theirs.

    In each slice with all structures, the share of the variance of intensity that its own label
    explains is compared with the share that labels of other patients explain, laid on the same place
    around the heart. The figure is the mean share of other labels that explain less: 1 if a label always
    fits its own image best, 0.5 if labels and images were shuffled.

    Args:
        case: What is to be trained.
        volumes: Volumes of the training section that are looked at.
    """
    parser = case.parser("training", volumes, augment=False)
    # In order, so that each slice is known to be of its volume.
    parser.update({"train::dataloader::shuffle": False, "train::dataloader::drop_last": False})
    own = list(parser.get_parsed_content("slice_offsets")).index(0)
    dataset = parser.get_parsed_content("train#dataset")
    patients = [dataset.data[index]["patient"] for index in dataset.volumes]
    images: list[npt.NDArray[np.float32]] = []
    labels: list[npt.NDArray[np.int64]] = []
    for image, label in prepared_batches(parser):
        images += list(image[:, own].cpu().numpy())
        labels += list(label[:, 0].cpu().numpy())
    constant = float(np.mean([np.ptp(image) < 1e-4 for image in images]))
    complete = [index for index, label in enumerate(labels) if len(np.unique(label)) == STRUCTURES + 1]
    rank = own_label_rank(
        [images[index] for index in complete],
        [labels[index] for index in complete],
        [patients[index] for index in complete],
    )
    details = {
        "constant_share": constant,
        "own_label_rank": rank,
        "slices_with_all_structures": len(complete),
    }
    expectation = (
        f"at least {MIN_RANK}: halfway between shuffled labels (0.5) and labels that always fit their own "
        f"image best (1); and at most {MAX_CONSTANT:.0%} of slices without contrast"
    )
    if constant > MAX_CONSTANT:
        finding = (
            f"images are constant: {constant:.0%} of the slices have one intensity throughout, so that "
            "there is nothing to learn from; look at how they were written and at clip_percentiles"
        )
    elif rank is None:
        finding = (
            "too few slices with all structures to tell whether labels belong to their images; look at them"
        )
    elif rank < MIN_RANK:
        finding = (
            "labels seem shuffled: they fit their own images hardly better than those of other patients "
            f"({rank:.2f}, chance is 0.5); check that each label file belongs to its image and has its "
            "orientation"
        )
    else:
        finding = "images have contrast, and labels belong to their images"
    passed = constant <= MAX_CONSTANT and rank is not None and rank >= MIN_RANK
    return Verdict(
        passed,
        rank,
        "share of other patients' labels that fit worse than the own",
        expectation,
        finding,
        details,
    )


def own_label_rank(
    images: list[npt.NDArray[np.float32]], labels: list[npt.NDArray[np.int64]], patients: list[str]
) -> float | None:
    """Mean share of other patients' labels that explain an image less than its own does.

    Args:
        images: Slices, all of one shape.
        labels: A label map for each.
        patients: Patient of each.

    Returns:
        0 to 1, a tie counting half; None if there is only one patient.
    """
    ranks = []
    for index, image in enumerate(images):
        mine = explained_variance(image, labels[index])
        others = [
            explained_variance(image, label)
            for label, patient in zip(labels, patients, strict=True)
            if patient != patients[index]
        ]
        if others:
            ranks.append(np.mean([0.5 if other == mine else float(other < mine) for other in others]))
    return float(np.mean(ranks)) if ranks else None


def explained_variance(image: npt.NDArray[np.float32], label: npt.NDArray[np.int64]) -> float:
    """Share of the variance of intensity within the structures that lies between them, 0 to 1.

    Args:
        image: Intensities.
        label: Label map of the same shape; 0 is left out.

    Returns:
        0 if the intensities do not vary.
    """
    inside = label > 0
    values, classes = image[inside].astype(np.float64), label[inside]
    total = values.var() if values.size else 0.0
    if total < 1e-12:
        return 0.0
    counts = np.bincount(classes)
    sums = np.bincount(classes, weights=values)
    means = sums[counts > 0] / counts[counts > 0]
    between = np.average((means - values.mean()) ** 2, weights=counts[counts > 0])
    return float(between / total)


TOLERANCE: Final = 0.35
"""Share by which random weights may move the loss. Logits that do not depend on the label and have variance
v raise the cross-entropy by about v (1 - 1 / C) / 2: a sixth of the loss for four classes and v = 1, a third
for v = 2. Images of another scale, or weights that are not new, move it further."""

FORMULA: Final = "W (ln C + 1 - mean over structures of 2 f / (1 + C f))"
"""Loss of equal probabilities 1 / C: cross-entropy is ln C, and Dice of a structure that fills the share f
of the pixels is 2 (f / C) / (1 / C + f); W is the sum of the weights of the network's heads."""

TIMED_STEPS: Final = 4


def check_initial_loss(case: Case, volumes: int) -> Verdict:
    """Compare the loss of random weights on unseen slices with that of equal probabilities.

    The expectation is the bundle's own loss of logits that are all zero, see `FORMULA`. A few training
    steps are timed as well, on which the sizes of later steps depend.

    Args:
        case: What is to be trained.
        volumes: Volumes of the validation section that are looked at.

    Returns:
        Verdict; its details have `seconds_per_step`.
    """
    fresh: dict[str, Any] = {"initial_weights": None}
    parser = case.parser("validation", volumes, augment=False, **fresh)
    found, chance, shares = losses_without_learning(parser)
    course = train_steps(case.parser("training", volumes, **fresh), TIMED_STEPS)
    ratio = found / chance
    if ratio > 1 + TOLERANCE:
        finding = (
            "the untrained network is more confident than it can be: its outputs are too large. Check that "
            "images are normalised and that weights are drawn as they should be"
        )
    elif ratio < 1 - TOLERANCE:
        finding = (
            "the untrained network does better than chance, so it is not untrained or the labels are not "
            "what they should be: check weights and label values"
        )
    else:
        finding = "the untrained network guesses, as it should"
    details = {
        "expected": chance,
        "formula": FORMULA,
        "class_shares": shares.tolist(),
        "loss": found,
        # The first step sets memory up, the median leaves a disturbed one out.
        "seconds_per_step": statistics.median(course.seconds[1:]),
    }
    return Verdict(
        abs(ratio - 1) <= TOLERANCE,
        found,
        "loss of the untrained network on unseen slices",
        f"{chance:.3f} within {TOLERANCE:.0%}: equal probabilities for all classes, {FORMULA}",
        finding,
        details,
    )


HANDFUL: Final = 4
HANDFUL_VOLUMES: Final = 3
"""Volumes that the slices are taken from."""

NEAR_ZERO: Final = 0.1
"""Share of chance below which the loss is near zero; pixels on borders keep it from zero itself."""

LOWER_RATES: Final = (0.1, 0.01, 0.001)
"""Factors of the learning rate that are tried when the configured one fails."""


def check_overfit(case: Case, steps: int) -> Verdict:
    """Train on four slices without augmentation until the loss is near zero.

    If that fails, lower rates tell whether the rate was at fault.

    Args:
        case: What is to be trained.
        steps: Iterations at most, for each rate.
    """
    chance, course, rate = _learn_by_heart(case, steps, factor=1.0)
    target = NEAR_ZERO * chance
    details: dict[str, Any] = {"chance": chance, "learning_rate": rate, "losses": course.losses}
    passed = min(course.losses) <= target
    if passed:
        finding = f"{HANDFUL} slices are memorised in {len(course.losses)} steps"
    else:
        finding, details["other_rates"] = _reason(case, steps, chance, course, rate)
    return Verdict(
        passed,
        course.losses[-1],
        f"loss on {HANDFUL} training slices after {len(course.losses)} steps",
        f"at most {target:.3f}, a tenth of chance ({chance:.3f}), within {steps} steps",
        finding,
        details,
    )


def _learn_by_heart(case: Case, steps: int, *, factor: float) -> tuple[float, Course, float]:
    """Chance, the course and its rate."""
    parser = case.parser("training", HANDFUL_VOLUMES, augment=False)
    dataset = parser.get_parsed_content("train#dataset")
    classes = [len(torch.unique(dataset[index]["label"])) for index in range(len(dataset))]
    # One of each volume first, and those with most structures.
    order = sorted(
        range(len(dataset)),
        key=lambda index: (-classes[index], dataset.volumes[:index].count(dataset.volumes[index])),
    )
    rate = factor * float(parser.get_parsed_content("learning_rate"))
    chosen = {"_target_": "torch.utils.data.Subset", "dataset": parser["train::dataset"]}
    settings: dict[str, Any] = {"batch_size": HANDFUL, "learning_rate": rate}
    parser = case.parser("training", HANDFUL_VOLUMES, augment=False, **settings)
    parser.update({"train::dataset": {**chosen, "indices": order[:HANDFUL]}})
    _, chance, _ = losses_without_learning(parser)
    course = train_steps(parser, steps, stop=lambda loss: loss <= NEAR_ZERO * chance)
    return chance, course, rate


def _reason(
    case: Case, steps: int, chance: float, course: Course, rate: float
) -> tuple[str, dict[str, float]]:
    """Why the slices were not learnt, and the last losses of lower rates."""
    lower: dict[str, float] = {}
    # Batch norms bring back a network that was thrown far off: that the loss rose first is a sign as well.
    rose = not max(course.losses) <= 1.5 * course.losses[0]
    share = 0.8 if rose else 0.5
    for factor in LOWER_RATES:
        _, other, tried = _learn_by_heart(case, steps, factor=factor)
        lower[f"{tried:g}"] = other.end
        if other.end < share * course.end:
            text = (
                f"the learning rate is too high: with {rate:g} the loss ends at {course.end:.3f}"
                f"{' after a rise' if rose else ''}, with "
                f"{tried:g} it falls to {other.end:.3f}; lower learning_rate"
            )
            return text, lower
    half = course.losses[len(course.losses) // 2]
    if course.end < 0.8 * half:
        return "the loss was still falling: give it more time, or a higher learning_rate", lower
    if course.end > 0.9 * chance:
        return (
            "nothing is memorised at any rate: look at what reaches the network (do images "
            "vary, are label values those of the classes) and at the loss",
            lower,
        )
    return "the loss stops well above zero: the network is too small, or labels contradict one another", lower
