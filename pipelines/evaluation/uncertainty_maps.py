"""Where a network is unsure: entropy of its probabilities, and votes of flipped copies."""

from dataclasses import replace
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from pipelines.core.volume import Volume, slices_last

Map = npt.NDArray[np.float32]

FLIPS: Final = ((), (0,), (1,), (0, 1))
"""In-plane axes of `(X, Y, Z)` that the copies are flipped along, slices last."""


class ProbabilityPredictor(Protocol):
    """Anything that gives probabilities, e.g. `pipelines.models.predictor.Predictor`."""

    def probabilities(self, volume: Volume) -> Map:
        """`(4, X, Y, Z)` on the volume's own grid, all zero where the network does not see."""


def entropy(probabilities: Map) -> Map:
    """Entropy of class probabilities as a share of the largest possible, 0 sure to 1.

    Args:
        probabilities: `(C, ...)` that add up to one over C, or are all zero.

    Returns:
        `(...)` float32; 0 where the probabilities are all zero.
    """
    logs = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))
    found: Map = -(probabilities * logs).sum(axis=0) / np.log(len(probabilities))
    return found.astype(np.float32)


def flip_disagreement(predictor: ProbabilityPredictor, volume: Volume) -> Map:
    """Share of four flipped copies that do not vote with the majority, 0 to 0.75.

    A network that has learned anatomy finds the same heart in a mirrored image turned back;
    where it does not, its answer hangs on a detail.

    Args:
        predictor: Gives probabilities of a volume.
        volume: `(X, Y, Z)` image; the slice axis may be any.

    Returns:
        `(X, Y, Z)` float32 in the volume's own order of axes.
    """
    stack, undo = slices_last(volume)
    votes = []
    for axes in FLIPS:
        turned = replace(stack, array=np.ascontiguousarray(np.flip(stack.array, axes)))
        votes.append(np.flip(predictor.probabilities(turned).argmax(axis=0), axes))
    stacked = np.stack(votes)
    agreeing = np.max([(stacked == label).sum(axis=0) for label in np.unique(stacked)], axis=0)
    found: Map = undo((1 - agreeing / len(FLIPS)).astype(np.float32))
    return found
