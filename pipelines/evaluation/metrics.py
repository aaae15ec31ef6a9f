"""Overlap and surface distance of a predicted label map, per structure."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_erosion
from scipy.spatial import KDTree

from pipelines.core.indices import IntArray, Spacing
from pipelines.core.labels import FOREGROUND, AcdcLabel

METRIC_NAMES: Final = ("dice", "iou", "precision", "recall", "f1", "hd95_mm", "assd_mm")
"""The fields of `StructureMetrics` that are figures, in the order of result files."""

NOT_LABELLED: Final = "labels"
"""Where a structure is absent from that the dataset does not label at all."""

HAUSDORFF_PERCENTILE: Final = 95
"""Percentile of the directed surface distances that HD95 keeps."""


@dataclass(frozen=True, slots=True)
class StructureMetrics:
    """How well one structure of one volume was found.

    Attributes:
        dice: Dice coefficient, 0 to 1.
        iou: Intersection over union, 0 to 1.
        precision: Share of the predicted voxels that are true, 0 to 1.
        recall: Share of the true voxels that were predicted, 0 to 1.
        f1: F1 score of the voxels, 0 to 1; on one volume the same as `dice`.
        hd95_mm: 95% Hausdorff distance in mm.
        assd_mm: Average symmetric surface distance in mm.
        absent_from: `"both"`, `"prediction"`, `"truth"`, `""` if in both masks, or `NOT_LABELLED`.
    """

    dice: float | None
    iou: float | None
    precision: float | None
    recall: float | None
    f1: float | None
    hd95_mm: float | None
    assd_mm: float | None
    absent_from: str = ""


def volume_metrics(
    prediction: IntArray,
    truth: IntArray,
    spacing_mm: Spacing,
    structures: Collection[AcdcLabel] = FOREGROUND,
) -> dict[AcdcLabel, StructureMetrics]:
    """Overlap and surface distances in mm of RV, myocardium and LV.

    HD95 is the larger of the two directed 95th percentiles: from each surface
    voxel of one mask to the nearest surface voxel of the other, and back. Some
    toolkits take one percentile of both directions pooled, which is never larger.
    ASSD is the mean over the surface voxels of both masks pooled. The surface
    is the voxels with a face neighbour outside the structure, across slices too.

    Args:
        prediction: `(X, Y, Z)` integer label map with values from `AcdcLabel`.
        truth: `(X, Y, Z)` integer label map of the same shape.
        spacing_mm: `(dx, dy, dz)` voxel size in mm, in the axis order of the masks.
        structures: Structures that `truth` tells of.

    Returns:
        Metrics of each foreground structure. Absent from both masks: all None.
        Absent from one: the overlaps are 0, the distances None. Not among
        `structures`: all None, since nobody knows where it is.

    Raises:
        ValueError: If the shapes differ, a mask is not 3-D or a spacing is not positive.

    References:
        HD95 and pooled ASSD: Maier-Hein, Reinke et al., Nature Methods 21, 2024,
        doi:10.1038/s41592-023-02151-z. Both equal MONAI's `compute_hausdorff_distance`
        and `compute_average_surface_distance(symmetric=True)`.
    """
    if prediction.ndim != 3 or prediction.shape != truth.shape:
        raise ValueError(
            f"expected two 3-D label maps of one shape, found {prediction.shape} and {truth.shape}"
        )
    if not all(value > 0 for value in spacing_mm):
        raise ValueError(f"expected positive spacings in mm, found {spacing_mm}")
    return {
        label: _structure_metrics(prediction == label, truth == label, spacing_mm)
        if label in structures
        else StructureMetrics(None, None, None, None, None, None, None, absent_from=NOT_LABELLED)
        for label in FOREGROUND
    }


def dice_coefficient(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> float | None:
    """Dice coefficient of two masks of one shape, 0 to 1, None if both are empty."""
    total = int(first.sum()) + int(second.sum())
    return 2 * int((first & second).sum()) / total if total else None


def _structure_metrics(
    predicted: npt.NDArray[np.bool_], true: npt.NDArray[np.bool_], spacing_mm: Spacing
) -> StructureMetrics:
    n_predicted, n_true = int(predicted.sum()), int(true.sum())
    if n_predicted == 0 and n_true == 0:
        return StructureMetrics(None, None, None, None, None, None, None, absent_from="both")
    if n_predicted == 0 or n_true == 0:
        absent_from = "truth" if n_true == 0 else "prediction"
        return StructureMetrics(0.0, 0.0, 0.0, 0.0, 0.0, None, None, absent_from=absent_from)
    n_common = int((predicted & true).sum())
    hd95_mm, assd_mm = _surface_distances_mm(predicted, true, spacing_mm)
    dice = dice_coefficient(predicted, true)
    return StructureMetrics(
        dice=dice,
        iou=n_common / (n_predicted + n_true - n_common),
        precision=n_common / n_predicted,
        recall=n_common / n_true,
        f1=dice,
        hd95_mm=hd95_mm,
        assd_mm=assd_mm,
    )


def _surface_distances_mm(
    predicted: npt.NDArray[np.bool_], true: npt.NDArray[np.bool_], spacing_mm: Spacing
) -> tuple[float, float]:
    inside = tuple(slice(int(axis.min()), int(axis.max()) + 1) for axis in np.nonzero(predicted | true))
    first, second = (_surface_mm(mask[inside], spacing_mm) for mask in (predicted, true))
    both = [KDTree(second).query(first)[0], KDTree(first).query(second)[0]]
    hd95_mm = max(float(np.percentile(directed, HAUSDORFF_PERCENTILE)) for directed in both)
    return hd95_mm, float(np.concatenate(both).mean())


def _surface_mm(mask: npt.NDArray[np.bool_], spacing_mm: Spacing) -> npt.NDArray[np.float64]:
    surface: npt.NDArray[np.float64] = np.argwhere(mask & ~binary_erosion(mask)) * np.asarray(spacing_mm)
    return surface
