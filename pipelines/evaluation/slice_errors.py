"""Errors slice by slice: where between base and apex a structure is missed, invented or off."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from pipelines.core.indices import IntArray
from pipelines.core.labels import FOREGROUND, LABEL_NAMES, AcdcLabel
from pipelines.core.records import Phase


class Position(StrEnum):
    """Where a slice lies along the long axis of the labelled left ventricle."""

    ABOVE = "above the base"
    BASE = "base"
    MID = "mid"
    APEX = "apex"
    BELOW = "below the apex"


THIRDS = (Position.BASE, Position.MID, Position.APEX)
"""The thirds of the left ventricle, from the valve plane on."""


@dataclass(frozen=True, slots=True)
class SliceError:
    """One structure in one slice, predicted and true.

    Attributes:
        patient: Identifier of the patient.
        group: Disease group.
        phase: End-diastole or end-systole.
        slice: Number of the slice in the file, 1-based.
        position: Where it lies in the labelled left ventricle.
        structure: RV, MYO or LV.
        true_pixels: Pixels of the structure in the label.
        predicted_pixels: Pixels of the structure in the prediction.
        common_pixels: Pixels of the structure in both.
        pixel_ml: Volume of one pixel of the slice, mL.
    """

    patient: str
    group: str
    phase: Phase
    slice: int
    position: Position
    structure: AcdcLabel
    true_pixels: int
    predicted_pixels: int
    common_pixels: int
    pixel_ml: float

    @property
    def dice(self) -> float | None:
        """Dice coefficient of the slice, 0 to 1; None if neither mask has the structure."""
        return pooled_dice([self])

    @property
    def error_ml(self) -> float:
        """Volume that only one of the masks has, mL."""
        return (self.true_pixels + self.predicted_pixels - 2 * self.common_pixels) * self.pixel_ml

    @property
    def kind(self) -> str:
        """`"missed"`, `"invented"`, or `""` if both masks or neither have the structure here."""
        if self.true_pixels and not self.predicted_pixels:
            return "missed"
        return "invented" if self.predicted_pixels and not self.true_pixels else ""

    def as_row(self) -> dict[str, Any]:
        """As a flat row of `slices.csv`."""
        return {
            "patient": self.patient,
            "group": self.group,
            "phase": str(self.phase),
            "slice": self.slice,
            "position": str(self.position),
            "structure": LABEL_NAMES[self.structure],
            "dice": self.dice,
            "true_ml": self.true_pixels * self.pixel_ml,
            "predicted_ml": self.predicted_pixels * self.pixel_ml,
            "error_ml": self.error_ml,
            "kind": self.kind,
        }


def slice_positions(truth: IntArray) -> list[Position]:
    """Position of each slice of a short-axis stack, from its labels.

    The slices with labelled LV cavity or myocardium are cut into equal thirds along the
    long axis, by the place of their middle. The apex is at the end where the labelled heart
    has the smaller area, over the last third at either end: files are stored both ways.

    Args:
        truth: `(X, Y, Z)` label map with values from `AcdcLabel`, slices last.

    Returns:
        Z positions; all `Position.ABOVE` if no LV is labelled.

    References:
        Thirds perpendicular to the long axis: Cerqueira et al., Circulation 105(4), 2002,
        doi:10.1161/hc0402.102975; Schulz-Menger et al., JCMR 22:19, 2020,
        doi:10.1186/s12968-020-00610-6.
    """
    ventricle = ((truth == AcdcLabel.MYO) | (truth == AcdcLabel.LV)).any(axis=(0, 1))
    if not ventricle.any():
        return [Position.ABOVE] * truth.shape[2]
    first, last = (int(end) for end in np.flatnonzero(ventricle)[[0, -1]])
    count = last - first + 1
    areas = np.count_nonzero(truth[:, :, first : last + 1], axis=(0, 1))
    end = max(count // 3, 1)
    from_base = areas[:end].mean() >= areas[-end:].mean()
    positions = []
    for index in range(truth.shape[2]):
        place = (index - first + 0.5) / count
        place = place if from_base else 1 - place
        if place < 0:
            positions.append(Position.ABOVE)
        elif place > 1:
            positions.append(Position.BELOW)
        else:
            positions.append(THIRDS[min(int(3 * place), 2)])
    return positions


def measure_slices(
    mask: IntArray,
    truth: IntArray,
    spacing_mm: tuple[float, float, float],
    *,
    patient: str,
    group: str,
    phase: Phase,
    structures: Collection[AcdcLabel] = FOREGROUND,
) -> list[SliceError]:
    """Each structure in each slice in which either mask has it.

    Args:
        mask: `(X, Y, Z)` predicted label map, slices last.
        truth: `(X, Y, Z)` true label map.
        spacing_mm: `(dx, dy, dz)` voxel size in mm.
        patient: Identifier of the patient.
        group: Disease group.
        phase: End-diastole or end-systole.
        structures: Structures that `truth` tells of.

    Raises:
        ValueError: If the shapes differ or are not 3-D.
    """
    if mask.ndim != 3 or mask.shape != truth.shape:
        raise ValueError(f"expected two 3-D label maps of one shape, found {mask.shape} and {truth.shape}")
    pixel_ml = float(np.prod(spacing_mm)) / 1000.0
    positions = slice_positions(truth)
    found = []
    for label in FOREGROUND:
        if label not in structures:
            continue
        predicted, true = mask == label, truth == label
        counts = [np.count_nonzero(part, axis=(0, 1)) for part in (true, predicted, true & predicted)]
        for index, position in enumerate(positions):
            n_true, n_predicted, n_common = (int(count[index]) for count in counts)
            if n_true or n_predicted:
                found.append(
                    SliceError(
                        patient,
                        group,
                        phase,
                        index + 1,
                        position,
                        label,
                        n_true,
                        n_predicted,
                        n_common,
                        pixel_ml,
                    )
                )
    return found


def pooled_dice(slices: Sequence[SliceError]) -> float | None:
    """Dice over the pixels of several slices of one structure, None if they have none.

    Pixels are pooled, so a slice counts by its area: the few pixels of an apical tip do not
    weigh as much as a whole basal slice.
    """
    total = sum(part.true_pixels + part.predicted_pixels for part in slices)
    return 2 * sum(part.common_pixels for part in slices) / total if total else None
