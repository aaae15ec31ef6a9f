"""Several models on the same patients: their figures, paired tests between them and ranks."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np

from pipelines.core.errors import DataError
from pipelines.core.labels import FOREGROUND, LABEL_NAMES
from pipelines.evaluation.bootstrap import RESAMPLES, FloatArray, bootstrap_weights
from pipelines.evaluation.cases import Case
from pipelines.evaluation.metrics import METRIC_NAMES
from pipelines.evaluation.paired import holm, paired_difference
from pipelines.evaluation.ranks import rank_stability
from pipelines.evaluation.summary import INDEX_FIELDS, patient_indices, summarise

COMPARED_METRICS: Final = tuple(metric for metric in METRIC_NAMES if metric != "f1")
"""F1 of the voxels is Dice by definition: testing both would show one finding twice."""

STRUCTURES: Final = (*(LABEL_NAMES[label] for label in FOREGROUND), "mean")

SAME_ML: Final = 1e-3
"""Volumes of the same label differ by no more than this, mL."""

DEFINITIONS: Final = {
    "f1": "F1 of the voxels is the Dice coefficient by definition, and is not compared a second time",
    "patient": "a patient's figure is the mean over its volumes; of an index, the absolute error",
    "difference": "second minus first, mean over patients, 95% interval by paired bootstrap of patients",
    "p_value": "Wilcoxon signed-rank test, two-sided, paired by patient",
    "p_holm": "corrected by Holm over the pairs of models for one figure of one structure",
    "ranks": "by the mean over patients, in resamples of the patients (doi:10.1038/s41598-021-82017-6)",
    "seconds_per_volume": "median wall time: models are measured one after the other, and other work of the "
    "machine slows them",
    "cpu_seconds": "processor time of all threads for one image, the largest",
    "peak_mb": "resident memory of a process that predicts that image, libraries included, 1e6 bytes",
}


@dataclass(frozen=True, slots=True)
class Figure:
    """Something that models are compared by.

    Attributes:
        name: Metric, or index whose absolute error counts.
        structure: One of `STRUCTURES`; `""` for an index.
    """

    name: str
    structure: str

    @property
    def is_higher_better(self) -> bool:
        """Overlaps are better if larger, distances and errors if smaller."""
        return bool(self.structure) and not self.name.endswith("_mm")


FIGURES: Final = (
    *(Figure(metric, structure) for metric in COMPARED_METRICS for structure in STRUCTURES),
    *(Figure(index, "") for index in INDEX_FIELDS),
)


def compare_models(
    models: Mapping[str, Sequence[Case]], *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Any]:
    """Figures of each model, paired differences of each two, and stability of their ranks.

    Args:
        models: At least two, by name: cases of the same volumes.
        resamples: Number of bootstrap resamples; each is the same for all models.
        seed: Seed of the bootstrap.

    Returns:
        `models` (by name `summary`, `intervals`, `by_phase`, `by_group` and `absent_from` as from
        `summarise`), `patients` (names in order, with group), `values` (figure by model and patient for
        mean Dice), `pairs` (fields of `PairedDifference` with `figure`, `structure`, `first`, `second`
        and `p_holm`), `ranks` (fields of `RankStability` with `figure` and `structure`) and `definitions`.

    Raises:
        DataError: If there are fewer than two models, or they are not about the same volumes and labels.
    """
    if len(models) < 2:
        raise DataError(f"expected at least two models to compare, found {list(models)}; give more")
    _check_same_volumes(models)
    first = next(iter(models.values()))
    patients = {case.patient: case.group for case in first}
    names = sorted(patients)
    drawn = bootstrap_weights(len(names), resamples=resamples, seed=seed)
    values = {
        figure: np.stack([patient_values(cases, names, figure) for cases in models.values()])
        for figure in FIGURES
    }
    shown = ("summary", "intervals", "by_phase", "by_group", "absent_from")
    summaries = {name: summarise(cases, resamples=resamples, seed=seed) for name, cases in models.items()}
    return {
        "models": {name: {key: content[key] for key in shown} for name, content in summaries.items()},
        "patients": [{"patient": name, "group": patients[name]} for name in names],
        "values": {name: values[Figure("dice", "mean")][row] for row, name in enumerate(models)},
        "pairs": [pair for figure in FIGURES for pair in _pairs(figure, list(models), values[figure], drawn)],
        "ranks": [
            {"figure": figure.name, "structure": figure.structure, **asdict(found)}
            for figure in FIGURES
            if (found := rank_stability(values[figure], drawn, is_higher_better=figure.is_higher_better))
        ],
        "definitions": dict(DEFINITIONS),
    }


def patient_values(cases: Sequence[Case], patients: Sequence[str], figure: Figure) -> FloatArray:
    """A figure of each patient, `(P,)`: mean over its volumes, or absolute error of an index.

    Args:
        cases: Evaluated volumes of these patients.
        patients: Their names in the order wanted.
        figure: What to take.

    Returns:
        NaN for a patient without a volume for which the figure is defined.
    """
    if figure.structure:
        found = _volume_figures(cases, figure)
    else:
        field = INDEX_FIELDS[figure.name]
        found = {}
        for patient in patient_indices(cases):
            measured, truth = getattr(patient.predicted, field), getattr(patient.truth, field)
            if measured is not None and truth is not None:
                found[patient.patient] = [abs(measured - truth)]
    return np.array([np.mean(found[name]) if found.get(name) else np.nan for name in patients])


def _volume_figures(cases: Sequence[Case], figure: Figure) -> dict[str, list[float]]:
    labels = {LABEL_NAMES[label]: label for label in FOREGROUND}
    found: dict[str, list[float]] = {}
    for case in cases:
        if figure.structure == "mean":
            value = case.mean(figure.name)
        else:
            value = case.value(figure.name, labels[figure.structure])
        if value is not None:
            found.setdefault(case.patient, []).append(value)
    return found


def _pairs(
    figure: Figure, models: Sequence[str], values: FloatArray, weights: FloatArray
) -> Iterator[dict[str, Any]]:
    couples = list(combinations(range(len(models)), 2))
    found = [
        paired_difference(values[first], values[second], weights, is_higher_better=figure.is_higher_better)
        for first, second in couples
    ]
    corrected = holm([difference.p_value for difference in found])
    for (first, second), difference, p_holm in zip(couples, found, corrected, strict=True):
        yield {
            "figure": figure.name,
            "structure": figure.structure,
            "first": models[first],
            "second": models[second],
            **asdict(difference),
            "p_holm": p_holm,
        }


def _check_same_volumes(models: Mapping[str, Sequence[Case]]) -> None:
    reference, *others = models
    wanted = _by_name(models[reference], reference)
    problems = []
    for name in others:
        found = _by_name(models[name], name)
        lacking, more = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
        relabelled = sorted(
            volume
            for volume in wanted.keys() & found.keys()
            if any(
                abs(wanted[volume].truth_ml[label] - found[volume].truth_ml[label]) > SAME_ML
                for label in FOREGROUND
            )
        )
        for words, volumes in (("lacks", lacking), ("also has", more), ("has other labels of", relabelled)):
            if volumes:
                problems.append(f"{name} {words} {_listed(volumes)}")
    if problems:
        raise DataError(
            f"expected evaluations of the volumes that {reference} was measured on, found: "
            f"{'; '.join(problems)}; evaluate all models on the same patients"
        )


def _by_name(cases: Sequence[Case], model: str) -> dict[str, Case]:
    named = {case.name: case for case in cases}
    if len(named) != len(cases):
        raise DataError(f"expected each volume once in {model}, found some twice; evaluate it again")
    return named


def _listed(volumes: Sequence[str], most: int = 6) -> str:
    more = f" and {len(volumes) - most} more" if len(volumes) > most else ""
    return ", ".join(volumes[:most]) + more
