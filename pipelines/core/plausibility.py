"""Warnings about label maps that a heart cannot have, in plain words for the reader of a result."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.morphology import convex_hull_image

from pipelines.core.indices import CardiacIndices, IntArray, Spacing, structure_volume_ml
from pipelines.core.labels import FOREGROUND, AcdcLabel

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
    heart = mask[crop_to_heart(mask)]
    warnings += _check_volumes(heart, spacing_mm)
    warnings += _check_ring(heart)
    warnings += _check_slices(heart)
    warnings += _check_pieces(heart)
    warnings += _check_borders(mask != AcdcLabel.BACKGROUND, spacing_mm)
    return warnings


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
    heart = mask.any(axis=2)
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


def _check_volumes(mask: IntArray, spacing_mm: Spacing) -> list[str]:
    low, high = CAVITY_RANGE_ML
    warnings = []
    for label in (AcdcLabel.LV, AcdcLabel.RV):
        volume_ml = structure_volume_ml(mask, spacing_mm, label)
        if volume_ml > 0 and not low <= volume_ml <= high:
            warnings.append(
                f"{NAMES[label]} volume of {volume_ml:.1f} mL is outside {low:.0f} to {high:.0f} mL"
            )
    return warnings


def _check_ring(mask: IntArray) -> list[str]:
    """LV beyond the myocardium anywhere, and gaps of the ring between base and apex."""
    lv, myo = mask == AcdcLabel.LV, mask == AcdcLabel.MYO
    if not lv.any() or not myo.any():
        return []
    slices = np.flatnonzero(lv.any(axis=(0, 1)))
    outside = sum(_outside(lv[:, :, z], myo[:, :, z]) for z in slices) / int(np.count_nonzero(lv))
    warnings = [f"{outside:.0%} of the LV lies outside the myocardium"] if outside > LV_OUTSIDE_SHARE else []
    # The outflow tract opens the ring in the basal slice, which may be at either end.
    broken = [
        int(z) + 1 for z in slices[1:-1] if open_ring_share(lv[:, :, z], myo[:, :, z]) > OPEN_RING_SHARE
    ]
    if broken:
        warnings.append(f"the myocardial ring is broken in {_slices(broken)}")
    return warnings


def _outside(lv: BoolArray, myo: BoolArray) -> int:
    """Number of LV pixels of a slice outside the convex hull of its myocardium."""
    if not myo.any():
        return int(np.count_nonzero(lv))
    return int(np.count_nonzero(lv & ~convex_hull_image(myo)))


def _check_slices(mask: IntArray) -> list[str]:
    count = int(np.count_nonzero(mask.any(axis=(0, 1))))
    few = f"the heart is seen in {count} of at least {MIN_SLICES} slices, volumes are not of whole ventricles"
    warnings = [few] if count < MIN_SLICES else []
    for label in (AcdcLabel.LV, AcdcLabel.MYO):
        present = np.flatnonzero((mask == label).any(axis=(0, 1)))
        if len(present):
            missing = [z + 1 for z in range(int(present[0]), int(present[-1])) if z not in present]
            if missing:
                warnings.append(f"{NAMES[label]} is missing in {_slices(missing)}")
    return warnings


def _check_pieces(mask: IntArray) -> list[str]:
    warnings = []
    for label in FOREGROUND:
        pieces, count = ndimage.label(mask == label, structure=np.ones((3, 3, 3)))
        voxels = np.bincount(pieces.ravel())[1:]
        if count > 1 and voxels.max() < (1 - STRAY_SHARE) * voxels.sum():
            warnings.append(f"{NAMES[label]} is in {count} separate pieces")
    return warnings


def _check_borders(heart: BoolArray, spacing_mm: Spacing) -> list[str]:
    """Heart cut by the edge of the image or of the window that the network sees."""
    if any(heart.take(edge, axis=axis).any() for axis in (0, 1) for edge in (0, -1)):
        return ["the heart touches the edge of the image and may be cut"]
    for axis in (0, 1):
        present = np.flatnonzero(heart.any(axis=(1 - axis, 2)))
        farthest = max(abs(float(index) - (heart.shape[axis] - 1) / 2) for index in present[[0, -1]])
        # Half a voxel to its border, and one more for the last voxel inside the window.
        if (farthest + 1.5) * spacing_mm[axis] > CENTRAL_WINDOW_MM / 2:
            return [f"the heart reaches the edge of the central {CENTRAL_WINDOW_MM:.0f} mm and may be cut"]
    return []


def _slices(numbers: list[int]) -> str:
    return f"slice{'s' if len(numbers) > 1 else ''} {', '.join(str(number) for number in numbers)}"
