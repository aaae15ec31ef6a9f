"""End-diastole and end-systole of a cine, found from the curve of LV volumes."""

import numpy as np
import numpy.typing as npt

from pipelines.core.errors import DataError

MIN_FRAMES_FOR_OUTLIERS = 12
"""Fewest frames at which a lone odd frame can be told from the end of a short systole; ACDC has 12."""

OUTLIER_SHARE = 0.3
"""A frame is odd if it is off its neighbours' median by more than this share of the curve's range.

A cosine beat of 12 frames is off by 0.08 at its extremes, one of 30 frames by 0.01.
"""


def find_ed_es(lv_volumes_ml: npt.ArrayLike) -> tuple[int, int]:
    """Frames of the largest (ED) and the smallest (ES) LV volume, 0-based.

    The cine is one heart beat, so its ends are neighbours. With 12 frames or more,
    a single frame far off the median of itself and its two neighbours is taken for
    a segmentation error and replaced by that median; all other frames stay as they
    are. Frames without LV are errors too, and are never chosen.

    Args:
        lv_volumes_ml: `(T,)` LV cavity volume of each frame in mL; 0 or NaN where
            no LV was found.

    Returns:
        `(index_ed, index_es)`; the first of several equal frames.

    Raises:
        DataError: If the LV was found in fewer than two frames.
    """
    volumes = np.nan_to_num(np.asarray(lv_volumes_ml, dtype=np.float64).ravel())
    present = volumes > 0
    if present.sum() < 2:
        raise DataError(
            f"expected the LV in at least 2 frames to find ED and ES, found it in {int(present.sum())} "
            f"of {len(volumes)}; check that this is a short-axis cine"
        )
    curve = _without_lone_outliers(volumes)
    index_ed = int(np.argmax(np.where(present, curve, -np.inf)))
    index_es = int(np.argmin(np.where(present, curve, np.inf)))
    return index_ed, index_es


def _without_lone_outliers(volumes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    if len(volumes) < MIN_FRAMES_FOR_OUTLIERS:
        return volumes
    median = np.median([np.roll(volumes, 1), volumes, np.roll(volumes, -1)], axis=0)
    is_odd = np.abs(volumes - median) > OUTLIER_SHARE * np.ptp(median)
    return np.where(is_odd, median, volumes)
