"""The first figure of a training: does the untrained network know nothing?"""

import statistics
from typing import Any, Final

from pipelines.training.checks.case import Case, losses_without_learning, train_steps
from pipelines.training.checks.record import Verdict

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
            "the untrained network is surer than it can be: its outputs are too large. Check that images are "
            "normalised and that weights are drawn as they should be"
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
