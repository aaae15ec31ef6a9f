"""What can be a heart: the order of a stack's slices, and masks that no heart can have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.morphology import convex_hull_image

from pipelines.core.cardiac import CardiacIndices, IntArray, Spacing, structure_volumes_ml
from pipelines.core.records import FOREGROUND, AcdcLabel

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
        reversed: Axes of the stack that run against those of the file.
    """

    axes: tuple[int, int, int]
    reversed: tuple[int, ...]

    def to_stack(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A view of an array `(X, Y, Z, ...)` of the file in the order of the stack."""
        return self._turned(array.transpose(*self.axes, *range(3, array.ndim)))

    def to_file(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A view of an array `(X, Y, Z, ...)` of the stack in the order of the file."""
        back = np.argsort(self.axes)
        return self._turned(array).transpose(*back, *range(3, array.ndim))

    def _turned(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        # The axis of a single slice stays: PyTorch refuses a step of -1, and NumPy takes it for contiguous.
        return np.flip(array, [axis for axis in self.reversed if array.shape[axis] > 1])

    def index(self, index: Sequence[int], shape: Sequence[int]) -> tuple[int, int, int]:
        """Index in the stack of a voxel of the file.

        Args:
            index: Voxel of the file, 0-based.
            shape: `(X, Y, Z)` of the file.
        """
        i, j, k = (
            shape[axis] - 1 - index[axis] if place in self.reversed else index[axis]
            for place, axis in enumerate(self.axes)
        )
        return i, j, k

    def affine(self, affine: Floats, shape: Sequence[int]) -> Floats:
        """Affine of the stack, so that every voxel stays where it is in space.

        Args:
            affine: 4 x 4, of the file.
            shape: `(X, Y, Z)` of the file.
        """
        moved = affine.copy()
        moved[:3, :3] = affine[:3, self.axes]
        for place in self.reversed:
            moved[:3, 3] += moved[:3, place] * (shape[self.axes[place]] - 1)
            moved[:3, place] *= -1
        return moved


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
        return StackOrder((first, second, axis), ())
    # Where slices are shifted against each other, the third axis is not square to them.
    normal = np.cross(directions[:, first], directions[:, second])
    normal = normal * np.sign(normal @ directions[:, axis])
    directions[:, axis] = normal / np.linalg.norm(normal)
    frame = BODY_FRAME if abs(directions[2, axis]) > _MIN_COSINE else HEART_FRAME
    cosines = frame.T @ directions

    def likeness(order: StackOrder) -> tuple[float, float]:
        """How far the stack runs as the frame does; of two equal ones (turned by 45 degrees) one is first."""
        signs = [-1 if place in order.reversed else 1 for place in range(3)]
        along = sum(sign * cosines[place, order.axes[place]] for place, sign in enumerate(signs))
        return round(float(along), 6), round(float(signs[0] * cosines[1, order.axes[0]]), 6)

    across = (2,) if cosines[2, axis] < 0 else ()
    candidates = [
        StackOrder((*in_plane, axis), (*along, *across))
        for in_plane in ((first, second), (second, first))
        for along in ((), (1,), (0,), (0, 1))
    ]
    return max(candidates, key=likeness)


_MIN_COSINE: Final = float(np.cos(np.deg2rad(MAX_TILT_DEG)))


def _has_thick_slices(spacing_mm: tuple[float, float, float]) -> bool:
    _, second, thickest = sorted(spacing_mm)
    return thickest >= THICK_SLICE_RATIO * second


BoolArray = npt.NDArray[np.bool_]

CENTRAL_WINDOW_MM = 288.0
"""Side of the central window that the networks see, mm."""

CAVITY_RANGE_ML = (10.0, 500.0)
"""Volumes of a cavity beyond which a segmentation is more likely wrong than the heart, mL."""

LV_OUTSIDE_SHARE = 0.05
"""Share of the LV cavity outside the myocardium that is worth a warning."""

OPEN_RING_SHARE = 0.1
"""Share of the cavity's outline without myocardium from which a ring is broken, and its wall not measured."""

STRAY_SHARE = 0.02
"""Share of a structure beside its largest piece that is worth a warning.

Of 80 ACDC label maps drawn by experts, 12 have smaller stray pieces, mostly at the base.
"""

MIN_SLICES = 3
"""Fewest slices with heart that can make up a stack from base to apex."""

CUT_SHARE = 0.6
"""Share of its largest area that the LV with its wall takes in both end slices of a stack that cuts it off.

In 128 label maps of ACDC the smaller end has at most 0.47.
"""

EF_RANGE_PERCENT = (5.0, 90.0)
"""Ejection fractions beyond which ED or ES is more likely wrong than the heart, percent."""

NAMES = {AcdcLabel.RV: "RV", AcdcLabel.MYO: "myocardium", AcdcLabel.LV: "LV"}


def check_mask(mask: IntArray, spacing_mm: Spacing) -> list[str]:
    """Warnings about one label map, in plain words; empty if nothing is odd.

    Args:
        mask: `(X, Y, Z)` integer label map with values from `AcdcLabel`, slices on
            the third axis.
        spacing_mm: `(dx, dy, dz)` voxel size in mm, in the axis order of `mask`.

    Returns:
        One sentence for each finding; slices are counted from 1.
    """
    if not mask.any():
        sides_mm = [mask.shape[axis] * spacing_mm[axis] for axis in (0, 1)]
        if max(sides_mm) <= CENTRAL_WINDOW_MM:
            return ["no heart found: the label map is empty"]
        return [
            f"no heart found in the central {CENTRAL_WINDOW_MM:.0f} mm of {sides_mm[0]:.0f} x "
            f"{sides_mm[1]:.0f} mm, which is all that the networks see: the label map is empty"
        ]
    warnings = [f"{NAMES[label]} is empty" for label in FOREGROUND if not (mask == label).any()]
    crop = crop_to_heart(mask)
    heart = mask[crop]
    low, high = CAVITY_RANGE_ML
    for label, volume_ml in structure_volumes_ml(heart, spacing_mm, (AcdcLabel.LV, AcdcLabel.RV)).items():
        if volume_ml > 0 and not low <= volume_ml <= high:
            warnings.append(
                f"{NAMES[label]} volume of {volume_ml:.1f} mL is outside {low:.0f} to {high:.0f} mL"
            )
    warnings += _check_ring(heart)
    warnings += _check_slices(heart)
    for label, box in zip(FOREGROUND, ndimage.find_objects(heart, max(FOREGROUND)), strict=True):
        pieces, count = ndimage.label(heart[box or ()] == label, structure=np.ones((3, 3, 3)))
        voxels = np.bincount(pieces.ravel())[1:]
        if count > 1 and voxels.max() < (1 - STRAY_SHARE) * voxels.sum():
            warnings.append(f"{NAMES[label]} is in {count} separate pieces")
    is_cut, farthest_mm = False, 0.0
    for axis in (0, 1):
        present = np.flatnonzero(heart.any(axis=(1 - axis, 2))) + crop[axis].start
        middle = (mask.shape[axis] - 1) / 2
        farthest = max(middle - present[0], present[-1] - middle)
        is_cut |= farthest == middle
        # Half a voxel to its border, and one more for the last voxel inside the window.
        farthest_mm = max(farthest_mm, (farthest + 1.5) * spacing_mm[axis])
    if is_cut:
        warnings.append("the heart touches the edge of the image and may be cut")
    elif farthest_mm > CENTRAL_WINDOW_MM / 2:
        warnings.append(
            f"the heart reaches the edge of the central {CENTRAL_WINDOW_MM:.0f} mm and may be cut"
        )
    return warnings


def check_ends(mask: IntArray) -> list[str]:
    """A warning if the LV fills both ends of a stack, so that apex or base was not imaged; else empty.

    Args:
        mask: `(X, Y, Z)` label map with values from `AcdcLabel`, slices on the third axis.
    """
    areas = np.count_nonzero(mask >= AcdcLabel.MYO, axis=(0, 1))
    if len(areas) < MIN_SLICES or min(areas[0], areas[-1]) <= CUT_SHARE * areas.max():
        return []
    return [
        "the left ventricle fills the first slice and the last: the stack ends before the apex or the base, "
        "volumes are not of whole ventricles"
    ]


def cannot_be_heart(volumes_ml: Mapping[AcdcLabel, float]) -> list[str]:
    """Reasons why no heart has these volumes, in plain words; empty if one may.

    What `check_mask` finds beside these is odd, and still may be a heart: a small one of a child, or one
    whose apex was not imaged.

    Args:
        volumes_ml: Volume of each structure of a label map in mL.

    Returns:
        One sentence for each reason.
    """
    if not any(volumes_ml.values()):
        return ["the label map is empty"]
    _, most_ml = CAVITY_RANGE_ML
    return [f"{NAMES[label]} is empty" for label in FOREGROUND if not volumes_ml[label]] + [
        f"{NAMES[label]} volume of {volumes_ml[label]:.0f} mL is above {most_ml:.0f} mL"
        for label in FOREGROUND
        if volumes_ml[label] > most_ml
    ]


def crop_to_heart(mask: IntArray) -> tuple[slice, slice]:
    """Rows and columns with heart in any slice, and one more on each side; all of them without a heart."""
    # Slice by slice, which is five times as fast as along them.
    heart = np.logical_or.reduce([mask[:, :, z] for z in range(mask.shape[2])])
    rows, columns = np.flatnonzero(heart.any(axis=1)), np.flatnonzero(heart.any(axis=0))
    if not len(rows):
        return slice(None), slice(None)
    return slice(max(rows[0] - 1, 0), rows[-1] + 2), slice(max(columns[0] - 1, 0), columns[-1] + 2)


def check_indices(indices: CardiacIndices) -> list[str]:
    """Warnings about ejection fractions that a living heart cannot have."""
    low, high = EF_RANGE_PERCENT
    return [
        f"{name} EF of {ef:.0f}% is outside {low:.0f} to {high:.0f}%, check ED and ES"
        for name, ef in (("LV", indices.lv_ef_percent), ("RV", indices.rv_ef_percent))
        if ef is not None and not low <= ef <= high
    ]


def open_ring_share(lv: BoolArray, myo: BoolArray) -> float:
    """Share of the pixels around the LV cavity of one slice that are not myocardium.

    Args:
        lv: `(X, Y)` LV cavity.
        myo: `(X, Y)` myocardium.
    """
    outline: BoolArray = ndimage.binary_dilation(lv) & ~lv
    return int(np.count_nonzero(outline & ~myo)) / max(int(np.count_nonzero(outline)), 1)


def _check_ring(mask: IntArray) -> list[str]:
    """LV beyond the myocardium anywhere, and gaps of the ring between base and apex."""
    lv, myo = mask == AcdcLabel.LV, mask == AcdcLabel.MYO
    if not lv.any() or not myo.any():
        return []
    slices = np.flatnonzero(lv.any(axis=(0, 1)))
    outside = 0
    for z in slices:
        ring = myo[:, :, z]
        # What has myocardium before and after it in its line is inside; a hull is slow: for the rest only.
        above, below = np.logical_or.accumulate(ring), np.logical_or.accumulate(ring[::-1])[::-1]
        rest = lv[:, :, z] & ~(above & below)
        if rest.any() and ring.any():
            rest &= ~convex_hull_image(ring)
        outside += int(np.count_nonzero(rest))
    share = outside / int(np.count_nonzero(lv))
    warnings = [f"{share:.0%} of the LV lies outside the myocardium"] if share > LV_OUTSIDE_SHARE else []
    # The outflow tract opens the ring in the basal slice, which may be at either end.
    broken = [
        int(z) + 1 for z in slices[1:-1] if open_ring_share(lv[:, :, z], myo[:, :, z]) > OPEN_RING_SHARE
    ]
    if broken:
        warnings.append(f"the myocardial ring is broken in {in_words('slice', broken)}")
    return warnings


def _check_slices(mask: IntArray) -> list[str]:
    count = int(np.count_nonzero(mask.any(axis=(0, 1))))
    few = f"the heart is seen in {count} of at least {MIN_SLICES} slices, volumes are not of whole ventricles"
    warnings = [few] if count < MIN_SLICES else []
    for label in (AcdcLabel.LV, AcdcLabel.MYO):
        present = np.flatnonzero((mask == label).any(axis=(0, 1)))
        if len(present):
            missing = [z + 1 for z in range(int(present[0]), int(present[-1])) if z not in present]
            if missing:
                warnings.append(f"{NAMES[label]} is missing in {in_words('slice', missing)}")
    return warnings


def in_words(what: str, numbers: Sequence[int] | npt.NDArray[np.intp]) -> str:
    """Such as `slices 2, 3`."""
    return f"{what}{'s' if len(numbers) > 1 else ''} {', '.join(str(number) for number in numbers)}"
