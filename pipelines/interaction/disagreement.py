"""How much several label maps of one volume disagree: the measure by which uncertain cases are found."""

import itertools
import statistics
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipelines.core.labels import FOREGROUND
from pipelines.evaluation.metrics import dice_coefficient


def disagreement(masks: Sequence[npt.NDArray[np.uint8]]) -> float:
    """One minus the mean Dice of every two label maps over the structures, 0 to 1.

    Args:
        masks: At least two label maps `(X, Y, Z)` of one volume.

    Returns:
        0.0 if all agree; a structure that neither of two has counts as agreement.
    """
    scores = [
        dice_coefficient(one == label, other == label)
        for one, other in itertools.combinations(masks, 2)
        for label in FOREGROUND
    ]
    return 1.0 - statistics.fmean(1.0 if score is None else score for score in scores)
