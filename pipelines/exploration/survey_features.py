"""The measured features of a heart survey: their names, words and units, once for all tables."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

MAD_OF_NORMAL: Final = 0.6745
"""Median absolute deviation of a normal distribution with SD 1."""

MEAN_DEVIATION_OF_NORMAL: Final = 0.7979
"""Mean absolute deviation of a normal distribution with SD 1."""


@dataclass(frozen=True, slots=True)
class Feature:
    """A column of the survey that tables and tests use.

    Attributes:
        name: Column of the survey.
        words: What it is, with its unit.
        digits: Digits after the point that make sense.
        on_log: It spreads over factors, so that outliers and distances are told on its logarithm.
        of_label: It needs the label, and is never used to compare sections.
        follows: It follows from others, and is neither searched for outliers nor compared by itself.
    """

    name: str
    words: str
    digits: int = 1
    on_log: bool = False
    of_label: bool = False
    follows: bool = False

    def shown(self, value: float) -> str:
        """A value with the digits that make sense."""
        return f"{value:.{self.digits}f}"

    def scaled(self, values: pd.Series) -> pd.Series:
        """Values on the scale that comparisons use; not positive ones on a log scale are NaN."""
        numbers = values.astype(float)
        return numbers.where(numbers > 0).map(np.log) if self.on_log else numbers


FEATURES: Final = (
    Feature("columns_px", "columns, pixels", 0, follows=True),
    Feature("rows_px", "rows, pixels", 0, follows=True),
    Feature("slices", "slices", 0),
    Feature("frames", "frames of the cine", 0),
    Feature("pixel_x_mm", "pixel spacing, mm", 2),
    Feature("slice_distance_mm", "slice distance, mm"),
    Feature("field_x_mm", "field of view along columns, mm", 0),
    Feature("field_y_mm", "field of view along rows, mm", 0),
    Feature("coverage_mm", "slices times distance, mm", 0),
    Feature("intensity_median", "median intensity", 0, on_log=True),
    Feature("intensity_p99", "99th percentile of intensity", 0, on_log=True),
    Feature("noise_sd", "SD of noise, intensity", 2, on_log=True, follows=True),
    Feature("snr_image", "SNR of tissue", 1, on_log=True),
    Feature("snr_blood", "SNR of LV blood", 1, on_log=True, of_label=True),
    Feature("snr_pool", "LV blood, mean over SD", 1, on_log=True, of_label=True),
    Feature("cnr", "CNR of LV blood and myocardium", 1, on_log=True, of_label=True),
    Feature("rv_ml", "RV, mL", 0, of_label=True),
    Feature("myo_ml", "myocardium, mL", 0, of_label=True),
    Feature("lv_ml", "LV, mL", 0, of_label=True),
)
"""Features in the order of the tables; those that a dataset does not tell are left out there."""

FEATURE_BY_NAME: Final = {feature.name: feature for feature in FEATURES}


def told(frame: pd.DataFrame) -> list[Feature]:
    """Features that at least one volume of a survey has."""
    return [feature for feature in FEATURES if frame[feature.name].notna().any()]


def compared(frame: pd.DataFrame, *, labels: bool = True) -> list[Feature]:
    """Those of them that do not follow from others; without `labels` those of images alone."""
    return [feature for feature in told(frame) if not feature.follows and (labels or not feature.of_label)]


def robust_z(values: pd.Series) -> pd.Series:
    """Robust z-scores: distance from the median in SDs, as the median absolute deviation tells them.

    Where more than half of the values are the same, the mean absolute deviation stands in.

    Args:
        values: Numbers, NaN allowed.

    Returns:
        A score for each; 0 if all are the same, NaN for NaN.

    References:
        Iglewicz and Hoaglin, How to Detect and Handle Outliers, ASQC, 1993, ISBN 978-0-87389-247-6.
    """
    distance = values - values.median()
    spread = distance.abs().median() / MAD_OF_NORMAL or distance.abs().mean() / MEAN_DEVIATION_OF_NORMAL
    return distance / spread if spread else distance
