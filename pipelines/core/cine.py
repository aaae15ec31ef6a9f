"""End-diastole, end-systole and the rates of ejection and filling, found from a cine's curve of volumes."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.signal import savgol_filter

from pipelines.core.errors import DataError

MIN_FRAMES_FOR_OUTLIERS = 12
"""Fewest frames at which a lone odd frame can be told from the end of a short systole; ACDC has 12."""

OUTLIER_SHARE = 0.3
"""A frame is odd if it is off its neighbours' median by more than this share of the curve's range.

A cosine beat of 12 frames is off by 0.08 at its extremes, one of 30 frames by 0.01.
"""


RATE_WINDOW: Final = {10: 5, 20: 7}
"""Frames that the slope of the curve is fitted to, by the least frames of a cine; fewer than 10 have none.

Cubics through 5 of 12 or 7 of 30 frames find the steepest slope of a cosine beat to 2%.
"""


@dataclass(frozen=True, slots=True)
class Rates:
    """How fast a ventricle empties and fills.

    Attributes:
        peak_ejection_ml_s: Steepest fall of the volume between ED and ES, mL/s, positive.
        peak_filling_ml_s: Steepest rise of the volume between ES and ED, mL/s.
        time_to_peak_filling_ms: From ES to the steepest rise, ms.
    """

    peak_ejection_ml_s: float
    peak_filling_ml_s: float
    time_to_peak_filling_ms: float


def measure_rates(volumes_ml: npt.ArrayLike, frame_s: float, index_ed: int, index_es: int) -> Rates | None:
    """Peak rates of ejection and filling in mL/s, by the slope of a smoothed curve.

    The cine is one heart beat, so its ends are neighbours. Lone odd frames are replaced as in `find_ed_es`.

    Args:
        volumes_ml: `(T,)` volume of each frame in mL.
        frame_s: Time between frames in seconds.
        index_ed: Frame of ED, 0-based.
        index_es: Frame of ES, 0-based.

    Returns:
        The rates; None with fewer than 10 frames, or with a frame without volume.

    References:
        Savitzky and Golay, Analytical Chemistry 36(8), 1964, doi:10.1021/ac60214a047.
    """
    volumes = np.asarray(volumes_ml, dtype=np.float64).ravel()
    window = max((width for least, width in RATE_WINDOW.items() if len(volumes) >= least), default=None)
    if window is None or not (volumes > 0).all():
        return None
    curve = _without_lone_outliers(volumes)
    slope_ml_s = savgol_filter(curve, window, polyorder=3, deriv=1, delta=frame_s, mode="wrap")
    frames = np.arange(len(volumes))
    since_ed, since_es = (frames - index_ed) % len(volumes), (frames - index_es) % len(volumes)
    in_systole = since_ed <= (index_es - index_ed) % len(volumes)
    fastest = int(np.argmax(np.where(in_systole, -np.inf, slope_ml_s)))
    return Rates(
        peak_ejection_ml_s=float(-slope_ml_s[in_systole].min()),
        peak_filling_ml_s=float(slope_ml_s[fastest]),
        time_to_peak_filling_ms=float(1000 * frame_s * since_es[fastest]),
    )


def find_ed_es(lv_volumes_ml: npt.ArrayLike) -> tuple[int, int]:
    """Frames of the largest (ED) and the smallest (ES) LV volume, 0-based.

    The cine is one heart beat, so its ends are neighbours. With 12 frames or more,
    a single frame far off the median of itself and its two neighbours is taken for
    a segmentation error and replaced by its neighbours' mean; all other frames stay
    as they are. Frames without LV are errors too, and are never chosen.

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
    before, after = np.roll(volumes, 1), np.roll(volumes, -1)
    median = np.median([before, volumes, after], axis=0)
    is_odd = np.abs(volumes - median) > OUTLIER_SHARE * np.ptp(median)
    return np.where(is_odd, (before + after) / 2, volumes)
