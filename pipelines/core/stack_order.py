"""The one order of axes and slices in which networks get every stack, whatever order its file has."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

THICK_SLICE_RATIO: Final = 1.5
"""An axis is the slice axis if its spacing is at least this many times the others'."""

BODY_FRAME: Final = np.array([[-1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]])
"""Columns: directions (RAS) of the axes of every stack of ACDC: left, posterior, superior; base first."""

HEART_FRAME: Final = np.array([[-1.0, -1.0, 0.0], [1.0, -1.0, -2.0], [-1.0, 1.0, -1.0]]).T / np.sqrt(
    [2, 6, 3]
)
"""Columns: directions (RAS) in which an upright stack of ACDC would run if its header told the truth.

The affines of ACDC are along the body's axes, which no short-axis stack is. Its voxels show how the stacks
really lie: over its 160 labels the RV is on the side of small indices of the first axis (mean angle 169
degrees), chest wall and anterior wall on that of small indices of the second, and the base comes first. In a
body the axis of the LV runs from base to apex to the left, forward and down, (-1, 1, -1); the RV lies to the
right and in front, (1, 1, 0), so the first axis runs the other way, to the lateral wall; the second, square
to both, runs to the inferior wall, (1, -1, -2).

References:
    Directions of the heart's planes: Cerqueira et al., Circulation 105(4), 2002, doi:10.1161/hc0402.102975.
"""

MAX_TILT_DEG: Final = 30.0
"""Slices tilted by less against the body's transverse plane have an affine such as ACDC's, not a scanner's.

The long axis of a heart is 45 to 60 degrees away from the body's.
"""


@dataclass(frozen=True, slots=True)
class StackOrder:
    """How the axes of a file become those of a stack.

    Attributes:
        axes: Axis of the file that becomes each axis of the stack; the slices are last.
        reverse: Whether each axis of the stack runs against that of the file.
    """

    axes: tuple[int, int, int]
    reverse: tuple[bool, bool, bool]

    def to_stack(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A view of an array `(X, Y, Z, ...)` of the file in the order of the stack."""
        return np.flip(array.transpose(*self.axes, *range(3, array.ndim)), self._flipped)

    def to_file(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A view of an array `(X, Y, Z, ...)` of the stack in the order of the file."""
        back = np.argsort(self.axes)
        return np.flip(array, self._flipped).transpose(*back, *range(3, array.ndim))

    def index(self, index: Sequence[int], shape: Sequence[int]) -> tuple[int, int, int]:
        """Index in the stack of a voxel of the file.

        Args:
            index: Voxel of the file, 0-based.
            shape: `(X, Y, Z)` of the file.
        """
        i, j, k = (
            shape[axis] - 1 - index[axis] if is_reversed else index[axis]
            for axis, is_reversed in zip(self.axes, self.reverse, strict=True)
        )
        return i, j, k

    def affine(self, affine: Floats, shape: Sequence[int]) -> Floats:
        """Affine of the stack, so that every voxel stays where it is in space.

        Args:
            affine: 4 x 4, of the file.
            shape: `(X, Y, Z)` of the file.
        """
        moved = affine.copy()
        for place, (axis, is_reversed) in enumerate(zip(self.axes, self.reverse, strict=True)):
            moved[:3, place] = -affine[:3, axis] if is_reversed else affine[:3, axis]
            if is_reversed:
                moved[:3, 3] += affine[:3, axis] * (shape[axis] - 1)
        return moved

    @property
    def _flipped(self) -> tuple[int, ...]:
        return tuple(axis for axis, is_reversed in enumerate(self.reverse) if is_reversed)


def slice_axis(spacing_mm: tuple[float, float, float]) -> int:
    """Index of the axis across the slices: the one with thick voxels, else the last."""
    order = np.argsort(spacing_mm)
    return int(order[2]) if _has_thick_slices(spacing_mm) else 2


def stack_order(
    affine: Floats, spacing_mm: tuple[float, float, float], *, is_oriented: bool = True
) -> StackOrder:
    """The order in which networks were trained, found from where the image lies in space.

    The same voxels at the same places give the same stack in whatever order a file stores them. A stack
    along the body's axes, as all of ACDC, is turned to left, posterior and superior; one that lies
    oblique, as scanners write them, so that the RV, the anterior wall and the base come first.

    Args:
        affine: 4 x 4, voxel index to RAS+ millimetres.
        spacing_mm: Voxel size in mm in the order of the file.
        is_oriented: Whether the affine can be believed; if not, only the slices are moved last.
    """
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    axis = slice_axis(spacing_mm)
    if is_oriented and not _has_thick_slices(spacing_mm):
        upright = np.abs(BODY_FRAME[:, 2] @ directions)
        along = upright if upright.max() > _MIN_COSINE else np.abs(HEART_FRAME[:, 2] @ directions)
        axis = int(along.argmax())
    first, second = (index for index in range(3) if index != axis)
    if not is_oriented:
        return StackOrder((first, second, axis), (False, False, False))
    # Where slices are shifted against each other, the third axis is not square to them.
    normal = np.cross(directions[:, first], directions[:, second])
    normal = normal * np.sign(normal @ directions[:, axis])
    directions[:, axis] = normal / np.linalg.norm(normal)
    frame = BODY_FRAME if abs(directions[2, axis]) > _MIN_COSINE else HEART_FRAME
    cosines = frame.T @ directions

    def likeness(order: StackOrder) -> tuple[float, float]:
        """How far the stack runs as the frame does; of two equal ones (turned by 45 degrees) one is first."""
        signs = [-1 if is_reversed else 1 for is_reversed in order.reverse]
        along = sum(sign * cosines[place, order.axes[place]] for place, sign in enumerate(signs))
        return round(float(along), 6), round(float(signs[0] * cosines[1, order.axes[0]]), 6)

    candidates = [
        StackOrder((*in_plane, axis), (bool(i), bool(j), bool(cosines[2, axis] < 0)))
        for in_plane in ((first, second), (second, first))
        for i, j in product((0, 1), repeat=2)
    ]
    return max(candidates, key=likeness)


_MIN_COSINE: Final = float(np.cos(np.deg2rad(MAX_TILT_DEG)))


def _has_thick_slices(spacing_mm: tuple[float, float, float]) -> bool:
    _, second, thickest = sorted(spacing_mm)
    return thickest >= THICK_SLICE_RATIO * second
