"""What a click adds to the network's scores: a user is surer than a network."""

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.ndimage import label

from pipelines.core.labels import AcdcLabel
from pipelines.interaction.clicks import Mask

Scores = npt.NDArray[np.float32]
Distances = npt.NDArray[np.float32]

KEEP: Final = 2.0
"""What the present label of a pixel is ahead of others, in log-probability: a change has to be worth it."""

KEEP_BESIDE: Final = 3.0
"""The same in the slices before and after that of the click, of which the click says less."""

PULL: Final = 1.5
"""What a click adds to the log-probability of its label where it lies,"""

PULL_A_MM: Final = 0.7
"""and for each mm from it to where the mask has that label already: who clicks in the middle of a fault
is as far from what is right as the fault is wide. Small faults are so mended nearby, large ones whole."""

MOST_PULL: Final = {True: 12.0, False: 4.0}
"""The most that this comes to, of background and of a structure, which must not spread without edges."""

UNKNOWN_MM: Final = 30.0
"""That distance where the mask has the label nowhere near, mm."""

SPREAD: Final = 1.2
"""Standard deviation of the bell by which the pull fades around the click, as a multiple of that distance,"""

SPREAD_MM: Final = (2.0, 20.0)
"""within these limits, mm in plane."""

FULFIL_MM: Final = 4.0
"""Standard deviation of the bell by which a click that is ignored even so is imposed, mm in plane."""

TOUCH_MM: Final = 2.0
"""What changes in the slice of a click has to come that near to it, mm."""


def pull(scores: Scores, present: Mask, kind: AcdcLabel, distance_mm: Distances) -> None:
    """Raise the scores of a click's label around it, in place.

    Args:
        scores: `(4, x, y)` log-probabilities.
        present: `(x, y)`, the mask.
        kind: The click's label.
        distance_mm: `(x, y)`, distance of each pixel to the click.
    """
    known_mm = distance_mm[present == kind].min(initial=UNKNOWN_MM)
    height = min(PULL + PULL_A_MM * known_mm, MOST_PULL[kind == AcdcLabel.BACKGROUND])
    width_mm = np.clip(SPREAD * known_mm, *SPREAD_MM)
    scores[kind] += height * np.exp(-(distance_mm**2) / (2 * width_mm**2))


def fulfil(scores: Scores, kind: AcdcLabel, distance_mm: Distances) -> None:
    """Make a click's label the best one where it lies, and fade what that takes around it, in place.

    Args:
        scores: `(4, x, y)` log-probabilities.
        kind: The click's label.
        distance_mm: `(x, y)`, distance of each pixel to the click, 0 where it lies.
    """
    row, column = divmod(int(distance_mm.argmin()), distance_mm.shape[1])
    lack = scores[:, row, column].max() - scores[kind, row, column]
    if lack > 0:
        scores[kind] += 1.1 * lack * np.exp(-(distance_mm**2) / (2 * FULFIL_MM**2))


def keep(scores: Scores, present: Mask, ahead: float) -> None:
    """Raise the scores of the labels that pixels `(x, y)` have, in place.

    Args:
        scores: `(4, x, y)` log-probabilities.
        present: `(x, y)`, the mask.
        ahead: What is added.
    """
    held = present[None]
    np.put_along_axis(scores, held, np.take_along_axis(scores, held, 0) + np.float32(ahead), 0)


def connected(changed: npt.NDArray[np.bool_], with_this: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """`(x, y)`, the connected parts of what changes that share a pixel with another region."""
    parts, _ = label(changed)
    shared = np.unique(parts[with_this])
    return np.isin(parts, shared[shared > 0])
