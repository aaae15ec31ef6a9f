"""Thickness of the left-ventricular wall, slice by slice."""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pipelines.core.indices import IntArray, Spacing
from pipelines.core.labels import AcdcLabel
from pipelines.core.plausibility import OPEN_RING_SHARE, open_ring_share

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


def slice_thickness_mm(label: BoolArray, cavity: BoolArray, spacing_mm: tuple[float, float]) -> FloatArray:
    """Wall thickness in mm at each pixel of the inner border, one slice.

    From the pixels of myocardium that touch the cavity to the nearest pixel outside of the
    ventricle, between their centres: for a wall of n pixels along an axis, n times the spacing.

    Args:
        label: `(X, Y)` myocardium.
        cavity: `(X, Y)` LV cavity.
        spacing_mm: `(dx, dy)` pixel size in mm.

    Returns:
        One value a pixel of the inner border; empty where there is no cavity, or where the ring
        around it is open, as in the outflow tract.
    """
    if not cavity.any() or open_ring_share(cavity, label) > OPEN_RING_SHARE:
        return np.empty(0)
    inner = ndimage.binary_dilation(cavity) & ~cavity & label
    # One pixel of margin, or a ventricle at the edge of the image would have no outside there.
    ventricle = np.pad(label | cavity, 1)
    distance = ndimage.distance_transform_edt(ventricle, sampling=spacing_mm)[1:-1, 1:-1]
    return np.asarray(distance[inner], dtype=np.float64)


def wall_features(mask: IntArray, spacing_mm: Spacing) -> dict[str, float]:
    """Thickness of the wall over a stack: mean and spread within slices, and over slices.

    Args:
        mask: `(X, Y, Z)` label map, slices last.
        spacing_mm: `(dx, dy, dz)` voxel size in mm.

    Returns:
        In mm: `wall_max`, largest of the slices' means; `wall_mean`, mean of these; `wall_std_slices`,
        standard deviation of these; `wall_mean_std`, mean of the slices' standard deviations;
        `wall_std_std`, standard deviation of these. All 0 if no slice has a closed ring.

    References:
        Khened et al., Medical Image Analysis 51, 2019, doi:10.1016/j.media.2018.10.004, table of features
        for the diagnosis of cardiac disease.
    """
    in_plane = (spacing_mm[0], spacing_mm[1])
    walls = [
        wall
        for z in range(mask.shape[2])
        if (
            wall := slice_thickness_mm(
                mask[:, :, z] == AcdcLabel.MYO, mask[:, :, z] == AcdcLabel.LV, in_plane
            )
        ).size
    ]
    means = np.array([wall.mean() for wall in walls] or [0.0])
    spreads = np.array([wall.std() for wall in walls] or [0.0])
    return {
        "wall_max": float(means.max()),
        "wall_mean": float(means.mean()),
        "wall_std_slices": float(means.std()),
        "wall_mean_std": float(spreads.mean()),
        "wall_std_std": float(spreads.std()),
    }
