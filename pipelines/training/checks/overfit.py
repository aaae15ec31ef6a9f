"""Can the network learn a handful of slices by heart? If not, nothing else will work."""

from typing import Any, Final

import torch

from pipelines.training.checks.case import Case, Course, losses_without_learning, train_steps
from pipelines.training.checks.record import Verdict

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
        finding = f"{HANDFUL} slices are learnt by heart in {len(course.losses)} steps"
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
            "nothing is learnt even by heart, whatever the rate: look at what reaches the network (do images "
            "vary, are label values those of the classes) and at the loss",
            lower,
        )
    return "the loss stops well above zero: the network is too small, or labels contradict one another", lower
