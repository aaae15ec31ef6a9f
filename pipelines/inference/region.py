"""The part of the field of view that holds the heart: networks need not look at the rest."""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

MIN_PX: Final = 128
"""Least side of a region: that of the patches the networks are trained on."""

STEP_PX: Final = 32
"""Sides are multiples of this, so that every network can halve them often enough."""

MARGIN_PX: Final = 16
"""Least distance between the heart and the border of its region (24 mm at 1.5 mm)."""

FEWEST_SLICES: Final = 5
"""A stack with fewer slices is segmented at once: looking twice would take longer."""


@dataclass(frozen=True, slots=True)
class Region:
    """Rows and columns of the network's field of view, in pixels."""

    rows: slice
    columns: slice


def whole_field(shape: tuple[int, ...]) -> Region:
    """The region that is the whole field of an image `(..., H, W)`."""
    return Region(slice(0, shape[-2]), slice(0, shape[-1]))


def sampled_slices(count: int) -> list[int]:
    """A fifth of the slices, at least two, evenly over the inner half of a stack of `count`."""
    wanted = max(2, count // 5)
    return [round((count - 1) * (0.25 + 0.5 * index / (wanted - 1))) for index in range(wanted)]


def heart_region(foreground: Tensor) -> Region:
    """Region around the heart in some slices, or the whole field where it is not seen.

    Args:
        foreground: `(S, H, W)` bool, True in the heart.
    """
    seen = foreground.any(dim=0)
    if not bool(seen.any()):
        return whole_field(seen.shape)
    return Region(_around(seen.any(dim=1)), _around(seen.any(dim=0)))


def _around(seen: Tensor) -> slice:
    places = torch.nonzero(seen)[:, 0]
    low, high, length = int(places[0]), int(places[-1]) + 1, len(seen)
    wanted = -(-(high - low + 2 * MARGIN_PX) // STEP_PX) * STEP_PX
    size = min(max(wanted, MIN_PX), length)
    first = min(max((low + high - size) // 2, 0), length - size)
    return slice(first, first + size)
