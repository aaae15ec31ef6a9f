"""The Dice that a network's own probabilities promise for its mask, without a true label."""

import numpy as np
import numpy.typing as npt
import torch

from pipelines.core.labels import FOREGROUND, AcdcLabel


def expected_dice(probabilities: torch.Tensor, mask: npt.NDArray[np.uint8]) -> dict[AcdcLabel, float]:
    """Dice of each structure of a mask with the network's probabilities in place of the truth.

    If the probabilities were calibrated, twice the probability inside the mask over the sum of the
    mask's size and the whole probability would be about the Dice to expect. Networks are surer than
    they are right, so it is a feature to predict Dice from and not a prediction by itself.

    Args:
        probabilities: `(4, X, Y, Z)` float, background first, 0 to 1.
        mask: `(X, Y, Z)` label map on the same grid.

    Returns:
        0 to 1 for RV, MYO and LV; 0 for a structure that the mask does not have.
    """
    labels = torch.from_numpy(np.ascontiguousarray(mask))
    found = {}
    for label in FOREGROUND:
        inside = labels == label
        channel = probabilities[label]
        total = float(inside.sum()) + float(channel.sum())
        common = float(channel[inside].sum())
        found[label] = 2 * common / total if common > 0 else 0.0
    return found
