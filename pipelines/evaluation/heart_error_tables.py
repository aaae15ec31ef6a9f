"""Tables of an error analysis: by position, phase, group and factor, and beside human observers."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

import numpy as np
from scipy.stats import spearmanr

from pipelines.core.records import FOREGROUND, LABEL_NAMES
from pipelines.evaluation.heart_errors import HeartErrors, HeartVolume, Position, SliceError, pooled_dice
from pipelines.evaluation.segmentation import INDEX_FIELDS, Case, patient_indices
from pipelines.evaluation.statistics import (
    LIMITS_OF_AGREEMENT_SD,
    RESAMPLES,
    FloatArray,
    bootstrap_weights,
    holm,
    measure_agreement,
    percentile_interval,
    weighted_mean,
)

MIN_PATIENTS: Final = 5
"""Fewest patients of whom a rank correlation is told."""

LEVELS: Final = ("low", "middle", "high")
"""Names of the thirds of a continuous factor."""

LARGE_ML: Final = 1.0
GROSS_DICE: Final = 0.5
"""A slice with more of a structure than the first is grossly wrong where its Dice is below the second."""


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


def level_table(
    observations: Sequence[Observation],
    factor: str,
    *,
    names: Iterable[str] | None = None,
    resamples: int = RESAMPLES,
) -> list[dict[str, Any]]:
    """Mean Dice at each level of a factor, by structure.

    Each level is looked at by itself, the other factors as they come: levels of one factor may
    differ in another.

    Args:
        observations: Dice values with their levels; those without this factor are left out.
        factor: Name of a factor in `levels`.
        names: Levels in the order to tell them; by default that of their first appearance.
        resamples: Number of bootstrap resamples over patients.

    Returns:
        `factor`, `level` and `structure`; `count`, volumes (or parts of volumes) with a Dice, `patients` that
        they are of, mean `dice`, None if there is none, and `interval`, its 95% bootstrap interval over
        patients, None with fewer than two.
    """
    known = [one for one in observations if factor in one.levels and one.dice is not None]
    levels = dict.fromkeys(names or (one.levels[factor] for one in observations if factor in one.levels))
    structures = dict.fromkeys(one.structure for one in observations)
    rows = []
    for name in levels:
        for structure in structures:
            part = [one for one in known if one.levels[factor] == name and one.structure == structure]
            row = {"factor": factor, "level": name, "structure": structure}
            rows.append(row | _level(part, resamples))
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
    shown = {name: f"{value:.3g} {unit}".strip() for name, value in known.items()}
    if len(set(shown.values())) <= len(LEVELS):
        return shown
    lower, upper = (float(edge) for edge in np.percentile(list(known.values()), (100 / 3, 200 / 3)))
    edges = (lower, upper, max(known.values()))
    words = [f"{level} (up to {edge:.3g} {unit})" for level, edge in zip(LEVELS, edges, strict=True)]
    return {name: words[int(value > lower) + int(value > upper)] for name, value in known.items()}


def correlations(observations: Sequence[Observation]) -> list[dict[str, Any]]:
    """Spearman's correlation of each continuous factor with the Dice of each structure.

    The volumes of a patient are averaged first: ED and ES of one heart are not independent.
    P-values are corrected by Holm's procedure over all that are returned.

    Args:
        observations: Dice values with the values of their factors.

    Returns:
        `factor` and `structure`; number of `patients`; `rho`, None where there is no spread or too few
        patients, and `p_value`, two-sided, None with it; `p_holm`, the same corrected.
    """
    factors = dict.fromkeys(factor for one in observations for factor in one.values)
    structures = dict.fromkeys(one.structure for one in observations)
    found: list[dict[str, Any]] = []
    for factor in factors:
        for structure in structures:
            pairs = _of_patients(observations, factor, structure)
            rho, p_value = _spearman(pairs)
            row = {"factor": factor, "structure": structure, "patients": len(pairs)}
            found.append(row | {"rho": rho, "p_value": p_value})
    corrected = holm([row["p_value"] for row in found])
    return [row | {"p_holm": p_holm} for row, p_holm in zip(found, corrected, strict=True)]


def _level(part: Sequence[Observation], resamples: int) -> dict[str, Any]:
    patients, owner = np.unique([one.patient for one in part], return_inverse=True)
    values = np.array([one.dice for one in part], dtype=np.float64)
    interval = None
    if len(patients) > 1:
        weights = bootstrap_weights(len(patients), resamples=resamples)
        interval = percentile_interval(weighted_mean(values, owner.astype(np.intp), weights))
    dice = float(values.mean()) if len(values) else None
    return {"count": len(part), "patients": len(patients), "dice": dice, "interval": interval}


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


class Statistic(StrEnum):
    """What a published figure is of."""

    LIMITS = "95% limits of agreement"
    LIMITS_FROM_SD = "95% limits, from mean and SD"
    BIAS = "bias"
    VARIABILITY = "coefficient of variability, %"
    ICC = "intraclass correlation"
    READERS = "inter-reader agreement, range over readers"


@dataclass(frozen=True, slots=True)
class Source:
    """A publication.

    Attributes:
        name: Authors and year.
        reference: Where it stands, with its DOI or PubMed number.
        observers: Who measured what.
    """

    name: str
    reference: str
    observers: str


@dataclass(frozen=True, slots=True)
class ObserverFigure:
    """What two people who measure the same hearts differ by.

    Attributes:
        index: Name as in `summary.INDEX_FIELDS`.
        statistic: What the figure is of.
        low: Lower end in the unit of the index, percent or none; equal to `high` for a single figure.
        high: Upper end.
        source: Where it was published.
    """

    index: str
    statistic: Statistic
    low: float
    high: float
    source: Source


SUINESIAPUTRA: Final = Source(
    "Suinesiaputra et al. 2015",
    "JCMR 17:63, doi:10.1186/s12968-015-0170-9 (abstract)",
    "readers of seven core laboratories, 15 patients; the abstract does not name the statistic",
)
LAWTON: Final = Source(
    "Lawton et al. 2012",
    "JCMR 14(Suppl 1):T11, doi:10.1186/1532-429X-14-S1-T11 (table 1)",
    "two technologists after a short training, 20 patients with ischaemic heart disease",
)
DIABETES: Final = Source(
    "PubMed 17763966",
    "https://pubmed.ncbi.nlm.nih.gov/17763966 (abstract)",
    "a trained and an untrained reader before training, 60 patients with type 2 diabetes",
)
CATALANO: Final = Source(
    "Catalano et al.",
    "Intra-observer and interobserver reproducibility of right ventricle volumes, function and mass by "
    "cardiac magnetic resonance (abstract), https://moh-it.pure.elsevier.com/en/publications/"
    "intra-observer-and-interobserver-reproducibility-of-right-ventric",
    "two operators, 45 patients",
)
MOOIJ: Final = Source(
    "Mooij et al. 2008",
    "Reproducibility of MRI measurements of right ventricular size and function in patients with normal "
    "and dilated ventricles, JMRI (abstract)",
    "two observers, 60 patients with normal or dilated RV; range over volumes and mass",
)
LUIJNENBURG: Final = Source(
    "Luijnenburg et al. 2010",
    "Int J Cardiovasc Imaging 26:57-64, doi:10.1007/s10554-009-9501-y (abstract)",
    "35 patients with congenital heart disease; range over all indices of both ventricles",
)

LV_INDICES: Final = ("edv_lv_ml", "esv_lv_ml", "ef_lv", "mass_g")
RV_INDICES: Final = ("edv_rv_ml", "esv_rv_ml", "ef_rv")


def _from_sd(index: str, mean: float, sd: float, source: Source) -> ObserverFigure:
    half = LIMITS_OF_AGREEMENT_SD * sd
    return ObserverFigure(index, Statistic.LIMITS_FROM_SD, mean - half, mean + half, source)


OBSERVER_FIGURES: Final[tuple[ObserverFigure, ...]] = (
    ObserverFigure("edv_lv_ml", Statistic.READERS, 15.2, 28.4, SUINESIAPUTRA),
    ObserverFigure("esv_lv_ml", Statistic.READERS, 14.0, 21.5, SUINESIAPUTRA),
    ObserverFigure("mass_g", Statistic.READERS, 20.2, 34.5, SUINESIAPUTRA),
    ObserverFigure("ef_lv", Statistic.READERS, 4.6, 7.5, SUINESIAPUTRA),
    _from_sd("edv_lv_ml", 2.4, 6.1, LAWTON),
    _from_sd("mass_g", 5.1, 11.3, LAWTON),
    ObserverFigure("edv_lv_ml", Statistic.LIMITS, -61.9, 76.6, DIABETES),
    ObserverFigure("esv_lv_ml", Statistic.LIMITS, -29.9, 34.2, DIABETES),
    ObserverFigure("ef_lv", Statistic.LIMITS, -11.6, 9.9, DIABETES),
    ObserverFigure("mass_g", Statistic.LIMITS, -55.6, 28.6, DIABETES),
    ObserverFigure("edv_rv_ml", Statistic.BIAS, 5.0, 5.0, CATALANO),
    ObserverFigure("esv_rv_ml", Statistic.BIAS, 2.0, 2.0, CATALANO),
    ObserverFigure("ef_rv", Statistic.BIAS, 2.0, 2.0, CATALANO),
    *(ObserverFigure(index, Statistic.VARIABILITY, 8.0, 13.0, CATALANO) for index in RV_INDICES),
    *(
        ObserverFigure(index, Statistic.ICC, 0.94, 0.99, MOOIJ)
        for index in (*LV_INDICES, *RV_INDICES)
        if not index.startswith("ef")
    ),
    *(ObserverFigure(index, Statistic.ICC, 0.79, 0.87, MOOIJ) for index in ("ef_lv", "ef_rv")),
    *(
        ObserverFigure(index, Statistic.VARIABILITY, 3.9, 10.2, LUIJNENBURG)
        for index in (*LV_INDICES, *RV_INDICES)
    ),
)
"""What people differ by. The sign of a difference between two people means nothing."""


def figures_of(index: str) -> list[ObserverFigure]:
    """Published values of one index, in the order of the registry."""
    return [figure for figure in OBSERVER_FIGURES if figure.index == index]


def published_limits(index: str) -> list[ObserverFigure]:
    """Published limits of agreement of one index, in its unit."""
    kinds = (Statistic.LIMITS, Statistic.LIMITS_FROM_SD)
    return [figure for figure in figures_of(index) if figure.statistic in kinds]


CONTINUOUS: Final = {
    "pixel spacing": "mm",
    "slice spacing": "mm",
    "contrast": "SD",
    "heart size": "mL",
}
"""Continuous factors and their units: contrast is that of the LV's blood against the myocardium,
heart size the largest labelled volume of RV, myocardium and LV together over the patient's phases."""

MEAN: Final = "mean"
"""Name of the mean over the structures."""


def error_tables(found: HeartErrors) -> dict[str, Any]:
    """Content of `errors.json`, which the page and its values are made from.

    Args:
        found: Measured volumes, at least one.

    Returns:
        `levels` and `correlations` of Dice with factors, `one_sided` (slices missed and invented),
        `agreement` of the indices with `observers`, `calibration`, `volumes` and `problems`.
    """
    values = _factor_values(found.volumes)
    cut = {name: thirds(values[name], unit) for name, unit in CONTINUOUS.items()}
    by_volume = _volume_observations(found.volumes, values, cut)
    levels = level_table(_position_observations(found.volumes), "position")
    for factor in dict.fromkeys(name for one in by_volume for name in one.levels):
        levels += level_table(by_volume, factor, names=cut[factor].values() if factor in cut else None)
    structures = [one for one in by_volume if one.structure != MEAN]
    return {
        "patients": len({volume.case.patient for volume in found.volumes}),
        "levels": levels,
        "correlations": correlations(structures),
        "one_sided": _one_sided([part for volume in found.volumes for part in volume.slices]),
        "agreement": _agreement([volume.case for volume in found.volumes]),
        "calibration": found.calibration.as_json(),
        "volumes": [_volume_json(volume) for volume in found.volumes],
        "problems": [asdict(problem) for problem in found.problems],
    }


def _volume_observations(
    volumes: Sequence[HeartVolume],
    values: Mapping[str, Mapping[str, float]],
    cut: Mapping[str, Mapping[str, str]],
) -> list[Observation]:
    # The order in which levels are told is that of their first appearance.
    order = sorted(volumes, key=lambda volume: (volume.case.phase, volume.case.group))
    observations = []
    for volume in order:
        case = volume.case
        levels = {"phase": str(case.phase), "group": case.group}
        levels |= {name: cut[name][case.name] for name in CONTINUOUS if case.name in cut[name]}
        own = {name: values[name][case.name] for name in CONTINUOUS}
        for structure, value in _dice(case).items():
            observations.append(Observation(case.patient, structure, value, levels, own))
    return observations


def _factor_values(volumes: Sequence[HeartVolume]) -> dict[str, dict[str, float]]:
    """Value of each factor of each volume; the heart's size is one for all phases of a patient."""
    values = {name: {volume.case.name: volume.factors[name] for volume in volumes} for name in CONTINUOUS}
    sizes: dict[str, float] = {}
    for volume in volumes:
        patient = volume.case.patient
        sizes[patient] = max(sizes.get(patient, 0.0), volume.factors["heart size"])
    return values | {"heart size": {volume.case.name: sizes[volume.case.patient] for volume in volumes}}


def _position_observations(volumes: Sequence[HeartVolume]) -> list[Observation]:
    return [
        Observation(
            volume.case.patient,
            LABEL_NAMES[label],
            pooled_dice(
                [part for part in volume.slices if (part.position, part.structure) == (place, label)]
            ),
            {"position": str(place)},
        )
        for place in Position
        for label in FOREGROUND
        for volume in volumes
    ]


def _one_sided(slices: Sequence[SliceError]) -> list[dict[str, Any]]:
    """How many slices with a structure in either mask were missed or invented, by position."""
    rows = []
    for label in FOREGROUND:
        for place in Position:
            parts = [part for part in slices if (part.structure, part.position) == (label, place)]
            large = [part.dice or 0.0 for part in parts if part.true_pixels * part.pixel_ml > LARGE_ML]
            kinds = Counter(part.kind for part in parts)
            if parts:
                rows.append(
                    {
                        "structure": LABEL_NAMES[label],
                        "position": str(place),
                        "slices": len(parts),
                        "missed": kinds["missed"],
                        "invented": kinds["invented"],
                        "large": len(large),
                        "gross": sum(dice < GROSS_DICE for dice in large),
                        "error_ml": sum(part.error_ml for part in parts),
                    }
                )
    return rows


def _agreement(cases: Sequence[Case]) -> dict[str, Any]:
    patients = patient_indices(cases)
    found: dict[str, Any] = {}
    for name, attribute in INDEX_FIELDS.items():
        measured, truth = (
            [getattr(side, attribute) for side in sides]
            for sides in ([one.predicted for one in patients], [one.truth for one in patients])
        )
        figures = measure_agreement(np.array(measured, np.float64), np.array(truth, np.float64))
        found[name] = {
            "patients": [one.patient for one in patients],
            "groups": [one.group for one in patients],
            "measured": measured,
            "truth": truth,
            "figures": figures,
            "observers": [asdict(figure) for figure in figures_of(name)],
        }
    return found


def _dice(case: Case) -> dict[str, float | None]:
    dice = {LABEL_NAMES[label]: case.value("dice", label) for label in FOREGROUND}
    return dice | {MEAN: case.mean("dice")}


def _volume_json(volume: HeartVolume) -> dict[str, Any]:
    case = volume.case
    return {
        "patient": case.patient,
        "group": case.group,
        "phase": str(case.phase),
        "dice": _dice(case),
        "factors": volume.factors,
        "entropy_auroc": volume.entropy_auroc,
        "reasons": [reason.words for reason in volume.reasons],
    }
