"""What a label map of a heart holds: volumes, contrast below it, and what is odd about it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pipelines.core.indices import IntArray, Spacing, structure_volumes_ml
from pipelines.core.labels import FOREGROUND, AcdcLabel
from pipelines.core.plausibility import NAMES, STRAY_SHARE, check_mask

POOL_MARGIN_PX = 2
"""Rim of the LV cavity that is left out where its blood is measured, pixels."""

LEAST_POOL = 20
"""Fewest voxels of blood from which a ratio is given."""


@dataclass(frozen=True, slots=True)
class LabelMeasures:
    """One label map and the image below it.

    Attributes:
        voxels: Number of voxels of each label, background included.
        volume_ml: Volume of each structure that the dataset labels, mL.
        snr_blood: Mean of the LV cavity over the noise in tissue; None where either cannot be told.
        snr_pool: Mean of the LV cavity, its rim left out, over the SD there; None where there is none.
            Papillary muscles and flow add to the SD, so that it is a lower bound.
        cnr: Mean of the LV cavity less that of the myocardium, over the noise in tissue, or None.
        findings: What is odd about the label, a sentence each.
    """

    voxels: dict[AcdcLabel, int]
    volume_ml: dict[AcdcLabel, float]
    snr_blood: float | None
    snr_pool: float | None
    cnr: float | None
    findings: list[str]


def measure_label(
    array: npt.NDArray[Any],
    mask: IntArray,
    spacing_mm: Spacing,
    noise_sd: float | None,
    *,
    structures: tuple[AcdcLabel, ...] = FOREGROUND,
) -> LabelMeasures:
    """Measures of a label map.

    Args:
        array: `(X, Y, Z)` image, slices on the third axis.
        mask: `(X, Y, Z)` label map with values from `AcdcLabel`; others count as background.
        spacing_mm: `(dx, dy, dz)` voxel size in mm.
        noise_sd: SD of the noise in the image's unit, or None.
        structures: What the dataset labels; that others are absent is nothing odd.
    """
    mask = np.where(np.isin(mask, list(AcdcLabel)), mask, AcdcLabel.BACKGROUND)
    lv = _mean(array, mask == AcdcLabel.LV)
    myo = _mean(array, mask == AcdcLabel.MYO)
    return LabelMeasures(
        voxels={label: int(np.count_nonzero(mask == label)) for label in AcdcLabel},
        volume_ml=structure_volumes_ml(mask, spacing_mm, structures),
        snr_blood=lv / noise_sd if lv is not None and noise_sd else None,
        snr_pool=_pool_ratio(array, mask == AcdcLabel.LV),
        cnr=(lv - myo) / noise_sd if lv is not None and myo is not None and noise_sd else None,
        findings=check_label(mask, spacing_mm, structures=structures),
    )


def check_label(
    mask: IntArray, spacing_mm: Spacing, *, structures: tuple[AcdcLabel, ...] = FOREGROUND
) -> list[str]:
    """What is odd about a label map drawn by a person: as of a predicted one, and holes and islands.

    Args:
        mask: `(X, Y, Z)` label map with values from `AcdcLabel`, slices on the third axis.
        spacing_mm: `(dx, dy, dz)` voxel size in mm.
        structures: What the dataset labels; that others are absent is nothing odd.

    Returns:
        One sentence for each finding; slices are counted from 1.
    """
    expected = {f"{NAMES[label]} is empty" for label in FOREGROUND if label not in structures}
    warnings = [text for text in check_mask(mask, spacing_mm) if text not in expected]
    return warnings + _check_holes(mask) + _check_islands(mask)


def _check_holes(mask: IntArray) -> list[str]:
    """Background that a structure encloses in a slice; LV and myocardium count as one."""
    parts = {
        "LV and myocardium": (mask == AcdcLabel.LV) | (mask == AcdcLabel.MYO),
        "RV": mask == AcdcLabel.RV,
    }
    warnings = []
    for name, part in parts.items():
        found = {}
        for z in np.flatnonzero(part.any(axis=(0, 1))):
            filled = ndimage.binary_fill_holes(part[:, :, z])
            count = int(np.count_nonzero(filled & (mask[:, :, z] == AcdcLabel.BACKGROUND)))
            if count:
                found[int(z) + 1] = count
        if found:
            places = ", ".join(str(number) for number in found)
            several = "s" if len(found) > 1 else ""
            warnings.append(
                f"{name} enclose background ({sum(found.values())} px) in slice{several} {places}"
            )
    return [text.replace("RV enclose ", "RV encloses ") for text in warnings]


def _check_islands(mask: IntArray) -> list[str]:
    """Pieces too small for `check_mask`, which a person drew all the same, by a slip or on purpose."""
    warnings = []
    for label in FOREGROUND:
        pieces, count = ndimage.label(mask == label, structure=np.ones((3, 3, 3)))
        voxels = np.bincount(pieces.ravel())[1:]
        if count > 1 and voxels.max() >= (1 - STRAY_SHARE) * voxels.sum():
            warnings.append(
                f"{NAMES[label]} has small islands ({int(voxels.sum() - voxels.max())} voxels in {count - 1})"
            )
    return warnings


def _mean(array: npt.NDArray[Any], region: npt.NDArray[np.bool_]) -> float | None:
    return float(array[region].mean()) if region.any() else None


def _pool_ratio(array: npt.NDArray[Any], lv: npt.NDArray[np.bool_]) -> float | None:
    in_plane = ndimage.generate_binary_structure(2, 1)[:, :, None]
    pool = array[ndimage.binary_erosion(lv, in_plane, iterations=POOL_MARGIN_PX)]
    if pool.size < LEAST_POOL or not pool.std():
        return None
    return float(pool.mean() / pool.std())
