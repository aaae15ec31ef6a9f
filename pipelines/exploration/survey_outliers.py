"""Volumes of a survey that are far from the others."""

from dataclasses import dataclass
from typing import Final

import pandas as pd

from pipelines.exploration.survey_features import Feature, compared, robust_z

OUTLIER_Z: Final = 3.5
"""Robust z-score beyond which a value is an outlier (Iglewicz and Hoaglin)."""

LEAST_COMPARED: Final = 8
"""Fewest volumes that are compared with each other: the spread of fewer says little."""

STRUCTURES: Final = ("rv_ml", "myo_ml", "lv_ml")


@dataclass(frozen=True, slots=True)
class Outlier:
    """One value far from the others.

    Attributes:
        index: Row of the survey.
        feature: Column of the survey.
        value: The value.
        median: Median of what it was compared with.
        z: Robust z-score.
        among: What it was compared with, e.g. `"ED"` or `"ED, DCM"`.
    """

    index: int
    feature: str
    value: float
    median: float
    z: float
    among: str


OUTLIER_RULE: Final = (
    "A value is an outlier if its robust z-score, (value - median) / (MAD / 0.6745), is beyond "
    f"{OUTLIER_Z} (Iglewicz and Hoaglin 1993); intensities and ratios to noise are taken on a "
    "logarithm. Each phase is compared by itself, and volumes of structures within the group too, "
    f"where it has at least {LEAST_COMPARED} volumes: a dilated heart is no outlier among dilated "
    "hearts. Fewer volumes than that are not compared. Where more than half of the values are equal, "
    "the mean absolute deviation stands in for the MAD."
)
"""The rule in words, for pages."""


def find_outliers(frame: pd.DataFrame) -> list[Outlier]:
    """Outliers among all features, the farthest first.

    Args:
        frame: As `HeartSurvey.frame` gives it.

    References:
        Iglewicz and Hoaglin, How to Detect and Handle Outliers, ASQC, 1993, ISBN 978-0-87389-247-6.
    """
    found: list[Outlier] = []
    for feature in compared(frame):
        for phase, volumes in frame.groupby("phase"):
            if feature.name not in STRUCTURES:
                found += _among(volumes, feature, str(phase))
                continue
            enough = volumes.groupby("group")["patient"].transform("size") >= LEAST_COMPARED
            for group, members in volumes[enough].groupby("group"):
                found += _among(members, feature, f"{phase}, {group}")
            if not enough.all():
                found += [
                    outlier
                    for outlier in _among(volumes, feature, str(phase))
                    if not enough.loc[outlier.index]
                ]
    return sorted(found, key=lambda outlier: -abs(outlier.z))


def _among(volumes: pd.DataFrame, feature: Feature, among: str) -> list[Outlier]:
    values = volumes[feature.name]
    if values.notna().sum() < LEAST_COMPARED:
        return []
    scores = robust_z(feature.scaled(values))
    return [
        Outlier(
            int(index),
            feature.name,
            float(values[index]),
            float(values.median()),
            float(scores[index]),
            among,
        )
        for index in scores.index[scores.abs() > OUTLIER_Z]
    ]
