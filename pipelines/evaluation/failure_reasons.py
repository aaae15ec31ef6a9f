"""Why a segmentation is wrong, in words: which structure, where, and how."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from pipelines.core.indices import IntArray, Spacing
from pipelines.core.labels import FOREGROUND, AcdcLabel
from pipelines.evaluation.slice_errors import Position, slice_positions

LEAK_SHARE: Final = 0.2
"""Predicted area on background, as a share of the true area, from which a structure leaks."""

SHORT_SHARE: Final = 0.2
"""True area left to background, as a share of the true area, from which a structure is cut short."""

SWAP_SHARE: Final = 0.2
"""Area given to another structure, as a share of the true area, from which the two are swapped."""


class Fault(StrEnum):
    """Kinds of error of a structure in a slice."""

    MISSED = "missed"
    INVENTED = "invented"
    SWAPPED = "swapped"
    LEAK = "leak"
    SHORT = "cut short"


@dataclass(frozen=True, slots=True)
class Reason:
    """One kind of error of one structure in the slices of a volume.

    Attributes:
        fault: Kind of error.
        structure: Structure of the label; for `INVENTED` and `LEAK` of the prediction.
        taken_for: For `SWAPPED`, what the prediction has there.
        slices: Numbers of the slices, 1-based.
        positions: Where they lie, in the same order.
        volume_ml: Volume of the pixels at fault, mL.
    """

    fault: Fault
    structure: AcdcLabel
    taken_for: AcdcLabel | None
    slices: tuple[int, ...]
    positions: tuple[Position, ...]
    volume_ml: float

    @property
    def words(self) -> str:
        """The reason as a part of a sentence, e.g. `"RV missed in slice 9 (apex), 1.2 mL"`."""
        plural = "s" if len(self.slices) > 1 else ""
        numbers = ", ".join(str(number) for number in self.slices)
        places = " and ".join(dict.fromkeys(str(place) for place in self.positions))
        name = self.structure.name
        what = {
            Fault.MISSED: f"{name} missed",
            Fault.INVENTED: f"{name} invented",
            Fault.LEAK: f"{name} leaks into the surroundings",
            Fault.SHORT: f"{name} cut short",
        }.get(self.fault) or f"{name} taken for {self.taken_for.name if self.taken_for else 'background'}"
        return f"{what} in slice{plural} {numbers} ({places}), {self.volume_ml:.1f} mL"


def find_reasons(
    mask: IntArray,
    truth: IntArray,
    spacing_mm: Spacing,
    structures: Collection[AcdcLabel] = FOREGROUND,
) -> list[Reason]:
    """Errors of a volume worth telling, the largest volume first.

    A structure that is in one mask only in a slice is missed or invented there; otherwise the
    area that leaks, is cut short or goes to another structure counts from a share of its true area.

    Args:
        mask: `(X, Y, Z)` predicted label map, slices last.
        truth: `(X, Y, Z)` true label map.
        spacing_mm: `(dx, dy, dz)` voxel size in mm.
        structures: Structures that `truth` tells of.

    Returns:
        Reasons, none if nothing reaches its share.

    Raises:
        ValueError: If the shapes differ or are not 3-D.
    """
    if mask.ndim != 3 or mask.shape != truth.shape:
        raise ValueError(f"expected two 3-D label maps of one shape, found {mask.shape} and {truth.shape}")
    positions = slice_positions(truth)
    pixel_ml = float(np.prod(spacing_mm)) / 1000.0
    found: dict[tuple[Fault, AcdcLabel, AcdcLabel | None], list[tuple[int, int]]] = {}
    for index in range(mask.shape[2]):
        for label in FOREGROUND:
            if label in structures:
                for fault, other, pixels in _faults(mask[:, :, index], truth[:, :, index], label):
                    found.setdefault((fault, label, other), []).append((index, pixels))
    reasons = [
        Reason(
            fault,
            label,
            other,
            tuple(index + 1 for index, _ in places),
            tuple(positions[index] for index, _ in places),
            sum(pixels for _, pixels in places) * pixel_ml,
        )
        for (fault, label, other), places in found.items()
    ]
    return sorted(reasons, key=lambda reason: -reason.volume_ml)


def in_words(reasons: Sequence[Reason], most: int = 4) -> str:
    """The largest reasons as one sentence."""
    if not reasons:
        return "Contours are off by little everywhere: no structure is missed, invented, swapped or leaking."
    text = "; ".join(reason.words for reason in reasons[:most])
    return f"{text}; and {len(reasons) - most} more." if len(reasons) > most else f"{text}."


def _faults(mask: IntArray, truth: IntArray, label: AcdcLabel) -> list[tuple[Fault, AcdcLabel | None, int]]:
    predicted, true = mask == label, truth == label
    area = int(true.sum())
    if not area:
        return [(Fault.INVENTED, None, int(predicted.sum()))] if predicted.any() else []
    if not predicted.any():
        return [(Fault.MISSED, None, area)]
    found: list[tuple[Fault, AcdcLabel | None, int]] = []
    leak = int((predicted & (truth == AcdcLabel.BACKGROUND)).sum())
    if leak >= LEAK_SHARE * area:
        found.append((Fault.LEAK, None, leak))
    short = int((true & (mask == AcdcLabel.BACKGROUND)).sum())
    if short >= SHORT_SHARE * area:
        found.append((Fault.SHORT, None, short))
    for other in FOREGROUND:
        swapped = int((true & (mask == other)).sum()) if other != label else 0
        if swapped >= SWAP_SHARE * area:
            found.append((Fault.SWAPPED, other, swapped))
    return found
