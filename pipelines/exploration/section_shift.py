"""How alike the sections of a split are, by what their images tell and never by their labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import ks_2samp

from pipelines.core.errors import DataError
from pipelines.datasets.prepare import Section, select
from pipelines.exploration.survey_features import compared

SECTIONS: Final[tuple[Section, ...]] = ("training", "validation", "test")

LEAST_PATIENTS: Final = 3
"""Fewest patients of a section for a test."""

SIGNIFICANT: Final = 0.05
"""Corrected p-value below which two sections differ."""


@dataclass(frozen=True, slots=True)
class Shift:
    """One feature in two sections.

    Attributes:
        feature: Column of the survey.
        first: One section.
        second: The other.
        median_first: Median over the patients of `first`.
        median_second: Median over the patients of `second`.
        distance_sd: Mean of `second` less that of `first` in pooled SDs, on the feature's scale; None
            where nobody differs from anybody.
        ks: Largest distance of the two distribution functions, 0 to 1.
        p_value: Of the two-sided Kolmogorov-Smirnov test.
        p_holm: The same, corrected for all features and pairs of sections.
    """

    feature: str
    first: str
    second: str
    median_first: float
    median_second: float
    distance_sd: float | None
    ks: float
    p_value: float
    p_holm: float


def sections_of(datalist: dict[str, Any], fold: int) -> dict[str, str]:
    """Section of each patient of a datalist; a section without patients is left out.

    Args:
        datalist: As from `read_datalist`.
        fold: The fold that validation stands for, 0 to 4.
    """
    found: dict[str, str] = {}
    for section in SECTIONS:
        try:
            found |= {item["patient"]: section for item in select(datalist, section, fold)}
        except DataError:
            continue
    return found


def section_shifts(frame: pd.DataFrame) -> list[Shift]:
    """Each feature of the images in each pair of sections, the largest distance first.

    A patient counts once, with the mean over its volumes: ED and ES are not independent. With many
    ties (slice distances, matrices) the test finds too little rather than too much.

    Args:
        frame: As `HeartSurvey.frame` gives it.

    References:
        Hodges, Arkiv för Matematik 3(43), 1958, doi:10.1007/BF02589501 (the test);
        Holm, Scand. J. Statist. 6(2), 1979, https://www.jstor.org/stable/4615733;
        Cohen, Statistical Power Analysis, 1988, doi:10.4324/9780203771587 (the distance).
    """
    raw: list[tuple[str, str, str, pd.Series, pd.Series, bool]] = []
    for feature in compared(frame, labels=False):
        values = frame.assign(value=feature.scaled(frame[feature.name]))
        patients = values.groupby("patient").agg(section=("section", "first"), value=("value", "mean"))
        for first, second in combinations(SECTIONS, 2):
            one, two = (patients.value[patients.section == name].dropna() for name in (first, second))
            if min(len(one), len(two)) >= LEAST_PATIENTS:
                raw.append((feature.name, first, second, one, two, feature.on_log))
    tests = [ks_2samp(one, two) for _, _, _, one, two, _ in raw]
    corrected = holm([float(test.pvalue) for test in tests])
    shifts = [
        Shift(
            feature=name,
            first=first,
            second=second,
            median_first=_back(one.median(), on_log),
            median_second=_back(two.median(), on_log),
            distance_sd=distance_sd(one.to_numpy(), two.to_numpy()),
            ks=float(test.statistic),
            p_value=float(test.pvalue),
            p_holm=p_holm,
        )
        for (name, first, second, one, two, on_log), test, p_holm in zip(raw, tests, corrected, strict=True)
    ]
    return sorted(shifts, key=lambda shift: -abs(shift.distance_sd or 0.0))


def groups_by_section(frame: pd.DataFrame) -> Mapping[str, Mapping[str, int]]:
    """Number of patients by group and section, as the split dealt them."""
    patients = frame.drop_duplicates("patient")
    return {
        str(group): {name: int((part.section == name).sum()) for name in SECTIONS}
        for group, part in patients.groupby("group")
    }


def distance_sd(one: npt.NDArray[Any], two: npt.NDArray[Any]) -> float | None:
    """Mean of `two` less that of `one` in pooled SDs (Cohen's d); None if neither varies.

    Args:
        one: At least two numbers.
        two: At least two numbers.
    """
    squares = (len(one) - 1) * np.var(one, ddof=1) + (len(two) - 1) * np.var(two, ddof=1)
    pooled = float(np.sqrt(squares / (len(one) + len(two) - 2)))
    difference = float(np.mean(two) - np.mean(one))
    return difference / pooled if pooled > 1e-9 * max(abs(difference), 1.0) else None


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number by Holm's step-down rule, in the same order."""
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(np.argsort(p_values)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def _back(value: float, on_log: bool) -> float:
    return float(np.exp(value)) if on_log else float(value)
