"""Calibration of voxel probabilities near the heart, added up volume by volume."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

from pipelines.core.indices import IntArray, Spacing
from pipelines.core.labels import FOREGROUND, LABEL_NAMES, AcdcLabel
from pipelines.evaluation.classification import CALIBRATION_BINS, bin_sums, calibration_curve

BAND_MM: Final = 10.0
"""Rim around the heart whose background counts, mm: the rest is easy and would flatter."""


@dataclass(slots=True)
class VoxelCalibration:
    """Sums over voxels from which reliability diagrams are drawn; memory does not grow with the cohort.

    Attributes:
        sums: `(3, CALIBRATION_BINS)` voxels, probabilities and truths of each structure.
    """

    sums: dict[AcdcLabel, npt.NDArray[np.float64]] = field(
        default_factory=lambda: {label: np.zeros((3, CALIBRATION_BINS)) for label in FOREGROUND}
    )

    def add(
        self,
        probabilities: npt.NDArray[np.float32],
        truth: IntArray,
        spacing_mm: Spacing,
        structures: Collection[AcdcLabel] = FOREGROUND,
    ) -> None:
        """Count the voxels of a volume near the heart.

        Args:
            probabilities: `(4, X, Y, Z)` in the order of `AcdcLabel`; voxels that the network
                does not see are all zero and do not count.
            truth: `(X, Y, Z)` label map; voxels that are no `AcdcLabel` do not count.
            spacing_mm: `(dx, dy, dz)` voxel size in mm, slices last.
            structures: Structures that `truth` tells of.
        """
        band = heart_band(truth, probabilities.argmax(axis=0), spacing_mm)
        band &= (probabilities.sum(axis=0) > 0) & (truth <= max(AcdcLabel))
        for label in structures:
            self.sums[label] += bin_sums(
                (truth[band] == label).astype(np.int64), probabilities[label][band].astype(np.float64)
            )

    def as_json(self) -> dict[str, Any]:
        """`curve` and `ece` of each structure, and how many voxels they are of; None without any."""
        found: dict[str, Any] = {}
        for label in FOREGROUND:
            curve, error = calibration_curve(self.sums[label])
            voxels = int(self.sums[label][0].sum())
            found[LABEL_NAMES[label]] = {
                "curve": curve,
                "ece": error if voxels else None,
                "voxels": voxels,
            }
        return found


def heart_band(truth: IntArray, prediction: IntArray, spacing_mm: Spacing) -> npt.NDArray[np.bool_]:
    """`(X, Y, Z)` voxels within `BAND_MM` in plane of the heart in either mask.

    Args:
        truth: `(X, Y, Z)` label map, slices last; values above `AcdcLabel` are no heart.
        prediction: `(X, Y, Z)` label map.
        spacing_mm: `(dx, dy, dz)` voxel size in mm.
    """
    heart = ((truth > 0) & (truth <= max(AcdcLabel))) | (prediction > 0)
    band = np.zeros(heart.shape, dtype=np.bool_)
    for index in range(heart.shape[2]):
        if heart[:, :, index].any():
            far = distance_transform_edt(~heart[:, :, index], sampling=spacing_mm[:2])
            band[:, :, index] = far <= BAND_MM
    return band
