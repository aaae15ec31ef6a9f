"""Whether what an image covers, in millimetres, can be a short-axis stack of a heart."""

from typing import Final

import numpy as np
import numpy.typing as npt

from pipelines.core.errors import DataError
from pipelines.core.stack_order import HEART_FRAME, THICK_SLICE_RATIO
from pipelines.core.volume import Volume, slices_last

MIN_FIELD_MM: Final = 50.0
"""Width in plane below which no heart fits into an image, mm; a left ventricle alone has 70."""

MAX_FIELD_MM: Final = 600.0
"""Width in plane beyond which no scanner sees, mm; bores are 600 to 700 wide, fields up to 500."""

MIN_STACK_MM: Final = 40.0
"""Length of several slices below which they cannot reach from base to apex, mm; hearts have 70 to 110."""

MAX_STACK_MM: Final = 200.0
"""Length beyond which thick slices are no stack of one heart, mm."""

MAX_ANGLE_DEG: Final = 60.0
"""Largest angle of slices' normal and the usual long axis of the LV; of long-axis views it is near 90."""

ALONG_BODY_DEG: Final = 5.0
"""Slices within this angle of the body's planes have an affine that tells nothing about the heart."""

MIN_FRAMES: Final = 8
"""Fewest frames of which neighbours must be alike; a beat has 20 to 30."""

MORE_ALIKE: Final = 0.7
"""Slices and frames are taken for exchanged if neighbouring slices differ by less than this share of what
neighbouring frames differ by. Slices are 8 mm apart, frames 30 ms."""


SLICES_ALIKE: Final = 0.2
"""Median difference of neighbouring slices, in standard deviations of the image, below which slices are taken
for frames; it is at least 0.30 in 40 stacks of ACDC, and 0.13 between the frames of a phantom's slice."""


def check_coverage(volume: Volume) -> list[str]:
    """Warnings about what an image covers; empty if a heart can be in it from base to apex.

    Args:
        volume: `(X, Y, Z)` or `(X, Y, Z, T)` image in any order of the spatial axes.

    Raises:
        DataError: If it is too small in plane for any heart.
    """
    stack, _ = slices_last(volume)
    shape, spacing = stack.array.shape, stack.spacing_mm
    field_mm = min(shape[axis] * spacing[axis] for axis in (0, 1))
    if field_mm < MIN_FIELD_MM:
        raise DataError(
            f"expected slices at least {MIN_FIELD_MM:.0f} mm wide, found {shape[0] * spacing[0]:.0f} x "
            f"{shape[1] * spacing[1]:.0f} mm; axes may be in another order than the header tells, or its "
            "unit or voxel size is wrong"
        )
    length_mm = shape[2] * spacing[2]
    warnings = []
    if max(shape[axis] * spacing[axis] for axis in (0, 1)) > MAX_FIELD_MM:
        warnings.append(
            f"the slices are {shape[0] * spacing[0]:.0f} x {shape[1] * spacing[1]:.0f} mm wide, more than "
            "any scanner sees: the voxel size or its unit is wrong"
        )
    if shape[2] > 1 and length_mm < MIN_STACK_MM:
        warnings.append(
            f"the {shape[2]} slices cover {length_mm:.0f} mm, too little for a heart from base to apex: "
            "volumes are not of whole ventricles, or the slice distance is wrong"
        )
    is_thick = spacing[2] >= THICK_SLICE_RATIO * max(spacing[:2])
    if is_thick and length_mm > MAX_STACK_MM:
        warnings.append(
            f"the {shape[2]} slices cover {length_mm:.0f} mm, more than a heart: "
            "frames may be stored as slices"
        )
    if is_thick and len(shape) == 3 and shape[2] >= MIN_FRAMES and _are_frames(stack):
        warnings.append("neighbouring slices are as alike as frames are: frames may be stored as slices")
    if is_thick and volume.is_oriented and _is_other_view(stack):
        warnings.append(
            "the slices do not lie across the long axis of a heart: this may be no short-axis stack"
        )
    if len(shape) == 4 and shape[3] >= MIN_FRAMES and shape[2] > 2 and _are_exchanged(stack):
        warnings.append(
            "neighbouring slices are more alike than neighbouring frames: slices and frames may be exchanged"
        )
    return warnings


def _is_other_view(stack: Volume) -> bool:
    normal = np.cross(stack.affine[:3, 0], stack.affine[:3, 1])
    normal = normal / np.linalg.norm(normal)
    if np.abs(normal).max() > np.cos(np.deg2rad(ALONG_BODY_DEG)):
        return False
    return bool(abs(normal @ HEART_FRAME[:, 2]) < np.cos(np.deg2rad(MAX_ANGLE_DEG)))


def _are_frames(stack: Volume) -> bool:
    """Whether slices differ as little as frames do, seen in the middle of the image."""
    middle = _middle(stack)
    differences = np.abs(np.diff(middle, axis=2)).mean(axis=(0, 1))
    return 0 < float(np.median(differences)) < SLICES_ALIKE * float(middle.std())


def _are_exchanged(stack: Volume) -> bool:
    """Whether slices follow each other as frames do, seen in the middle of the image."""
    middle = _middle(stack)
    between_slices = float(np.abs(np.diff(middle, axis=2)).mean())
    between_frames = float(np.abs(np.diff(middle, axis=3)).mean())
    return between_slices < MORE_ALIKE * between_frames


def _middle(stack: Volume) -> npt.NDArray[np.float32]:
    rows, columns = (slice(length // 4, length - length // 4) for length in stack.array.shape[:2])
    return stack.array[rows, columns]
