"""What goes with a low Dice: figures at each level of a factor, and rank correlations."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from scipy.stats import spearmanr

from pipelines.evaluation.bootstrap import (
    RESAMPLES,
    FloatArray,
    bootstrap_weights,
    percentile_interval,
    weighted_mean,
)
from pipelines.evaluation.paired import holm

MIN_PATIENTS: Final = 5
"""Fewest patients of whom a rank correlation is told."""

LEVELS: Final = ("low", "middle", "high")
"""Names of the thirds of a continuous factor."""


@dataclass(frozen=True, slots=True)
class Observation:
    """Dice of one structure of one volume, or of a part of it, and what may explain it.

    Attributes:
        patient: Patient it is of.
        structure: `rv`, `myo`, `lv`, or `mean`.
        dice: Dice coefficient, None where it is not defined.
        levels: Level of each factor with levels, e.g. `{"phase": "ED"}`.
        values: Value of each continuous factor; NaN where it is not known.
    """

    patient: str
    structure: str
    dice: float | None
    levels: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Level:
    """Dice of a structure at one level of a factor.

    Attributes:
        factor: Name of the factor.
        level: Name of the level.
        structure: Structure, or `mean`.
        count: Volumes (or parts of volumes) with a Dice.
        patients: Patients that they are of.
        dice: Mean Dice, None if there is none.
        interval: 95% bootstrap interval over patients; None with fewer than two.
    """

    factor: str
    level: str
    structure: str
    count: int
    patients: int
    dice: float | None
    interval: list[float] | None


@dataclass(frozen=True, slots=True)
class Correlation:
    """Spearman's rank correlation of a factor with Dice, over patients.

    Attributes:
        factor: Name of the factor.
        structure: Structure.
        patients: Number of patients.
        rho: Correlation, None where there is no spread or too few patients.
        p_value: Two-sided, None with `rho`.
        p_holm: The same corrected for all correlations reported together.
    """

    factor: str
    structure: str
    patients: int
    rho: float | None
    p_value: float | None
    p_holm: float | None


def level_table(
    observations: Sequence[Observation],
    factor: str,
    *,
    names: Iterable[str] | None = None,
    resamples: int = RESAMPLES,
) -> list[Level]:
    """Mean Dice at each level of a factor, by structure.

    Each level is looked at by itself, the other factors as they come: levels of one factor may
    differ in another.

    Args:
        observations: Dice values with their levels; those without this factor are left out.
        factor: Name of a factor in `levels`.
        names: Levels in the order to tell them; by default that of their first appearance.
        resamples: Number of bootstrap resamples over patients.
    """
    known = [one for one in observations if factor in one.levels and one.dice is not None]
    levels = dict.fromkeys(names or (one.levels[factor] for one in observations if factor in one.levels))
    structures = dict.fromkeys(one.structure for one in observations)
    rows = []
    for name in levels:
        for structure in structures:
            part = [one for one in known if one.levels[factor] == name and one.structure == structure]
            rows.append(_level(part, factor, name, structure, resamples))
    return rows


def thirds(values: Mapping[str, float], unit: str) -> dict[str, str]:
    """Level of each name by the third its value is in, or by the value where there are few.

    Args:
        values: Value of each name; NaN is left out.
        unit: Unit of the values, for the names of the levels.

    Returns:
        Level of each name such as `"low (up to 1.4 mm)"`, the lowest first. With no more than
        three values, told with three digits, each is a level of its own: `"10 mm"`.
    """
    known = {name: value for name, value in values.items() if np.isfinite(value)}
    known = dict(sorted(known.items(), key=lambda pair: pair[1]))
    told = {name: f"{value:.3g} {unit}".strip() for name, value in known.items()}
    if len(set(told.values())) <= len(LEVELS):
        return told
    lower, upper = (float(edge) for edge in np.percentile(list(known.values()), (100 / 3, 200 / 3)))
    edges = (lower, upper, max(known.values()))
    words = [f"{level} (up to {edge:.3g} {unit})" for level, edge in zip(LEVELS, edges, strict=True)]
    return {name: words[int(value > lower) + int(value > upper)] for name, value in known.items()}


def correlations(observations: Sequence[Observation]) -> list[Correlation]:
    """Spearman's correlation of each continuous factor with the Dice of each structure.

    The volumes of a patient are averaged first: ED and ES of one heart are not independent.
    P-values are corrected by Holm's procedure over all that are returned.

    Args:
        observations: Dice values with the values of their factors.
    """
    factors = dict.fromkeys(factor for one in observations for factor in one.values)
    structures = dict.fromkeys(one.structure for one in observations)
    found: list[tuple[str, str, int, float | None, float | None]] = []
    for factor in factors:
        for structure in structures:
            pairs = _of_patients(observations, factor, structure)
            found.append((factor, structure, len(pairs), *_spearman(pairs)))
    corrected = holm([row[-1] for row in found])
    return [Correlation(*row, p_holm) for row, p_holm in zip(found, corrected, strict=True)]


def _level(part: Sequence[Observation], factor: str, name: str, structure: str, resamples: int) -> Level:
    patients, owner = np.unique([one.patient for one in part], return_inverse=True)
    values = np.array([one.dice for one in part], dtype=np.float64)
    interval = None
    if len(patients) > 1:
        weights = bootstrap_weights(len(patients), resamples=resamples)
        interval = percentile_interval(weighted_mean(values, owner.astype(np.intp), weights))
    dice = float(values.mean()) if len(values) else None
    return Level(factor, name, structure, len(part), len(patients), dice, interval)


def _of_patients(observations: Sequence[Observation], factor: str, structure: str) -> FloatArray:
    """`(P, 2)` mean factor and mean Dice of each patient that has both."""
    rows: dict[str, list[tuple[float, float]]] = {}
    for one in observations:
        value = one.values.get(factor, np.nan)
        if one.structure == structure and one.dice is not None and np.isfinite(value):
            rows.setdefault(one.patient, []).append((value, one.dice))
    means = [np.mean(pairs, axis=0) for pairs in rows.values()]
    return np.array(means, dtype=np.float64).reshape(-1, 2)


def _spearman(pairs: FloatArray) -> tuple[float | None, float | None]:
    if len(pairs) < MIN_PATIENTS or (np.ptp(pairs, axis=0) == 0).any():
        return None, None
    found = spearmanr(pairs[:, 0], pairs[:, 1])
    return float(found.statistic), float(found.pvalue)
