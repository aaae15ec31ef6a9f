"""Before anything is trained: do the images vary, and do labels and images belong together?"""

from typing import Final

import numpy as np
import numpy.typing as npt

from pipelines.training.checks.case import Case, prepared_batches
from pipelines.training.checks.record import Verdict

LEAST_RANK: Final = 0.75
"""Halfway between labels that fit no better than those of others (0.5) and ones that always fit best."""

MOST_CONSTANT: Final = 0.05
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
    return _verdict(constant, rank, len(complete))


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


def _verdict(constant: float, rank: float | None, slices: int) -> Verdict:
    details = {"constant_share": constant, "own_label_rank": rank, "slices_with_all_structures": slices}
    expectation = (
        f"at least {LEAST_RANK}: halfway between shuffled labels (0.5) and labels that always fit their own "
        f"image best (1); and at most {MOST_CONSTANT:.0%} of slices without contrast"
    )
    if constant > MOST_CONSTANT:
        finding = (
            f"images are constant: {constant:.0%} of the slices have one intensity throughout, so that "
            "there is nothing to learn from; look at how they were written and at clip_percentiles"
        )
    elif rank is None:
        finding = (
            "too few slices with all structures to tell whether labels belong to their images; look at them"
        )
    elif rank < LEAST_RANK:
        finding = (
            "labels seem shuffled: they fit their own images hardly better than those of other patients "
            f"({rank:.2f}, chance is 0.5); check that each label file belongs to its image and has its "
            "orientation"
        )
    else:
        finding = "images have contrast, and labels belong to their images"
    passed = constant <= MOST_CONSTANT and rank is not None and rank >= LEAST_RANK
    return Verdict(
        passed,
        rank,
        "share of other patients' labels that fit worse than the own",
        expectation,
        finding,
        details,
    )
