"""Summary of evaluated volumes: means, agreement of indices and bootstrap intervals over patients."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from pipelines.core.indices import CardiacIndices, indices_from_volumes
from pipelines.core.labels import FOREGROUND, LABEL_NAMES
from pipelines.core.records import Phase
from pipelines.evaluation.bootstrap import (
    RESAMPLES,
    FloatArray,
    agreement,
    bootstrap_weights,
    mean_of_defined,
    percentile_interval,
    weighted_mean,
    weighted_median,
)
from pipelines.evaluation.cases import Case
from pipelines.evaluation.metrics import METRIC_NAMES

INDEX_FIELDS: Final = {
    "ef_lv": "lv_ef_percent",
    "edv_lv_ml": "lv_edv_ml",
    "esv_lv_ml": "lv_esv_ml",
    "ef_rv": "rv_ef_percent",
    "edv_rv_ml": "rv_edv_ml",
    "esv_rv_ml": "rv_esv_ml",
    "mass_g": "myo_mass_ed_g",
}
"""Names of the indices in `metrics.json`, and the fields of `CardiacIndices` behind them."""

DEFINITIONS: Final = {
    "mean": "mean over the three structures of the mean over volumes",
    "f1": "voxel F1 score of a volume, the same as its Dice coefficient",
    "hd95_mm": "larger directed 95th percentile, mean over volumes with the structure in both masks",
    "assd_mm": "mean over both surfaces pooled, mean over volumes with the structure in both masks",
    "loa": "bias -+ 1.96 sample SD of measured minus true",
    "ef_lv": "percentage points, over patients with both phases",
    "seconds_per_volume": "median wall time of a prediction, reading apart",
    "intervals": "95% percentile bootstrap over patients",
}
"""What the figures of `metrics.json` mean, written along with them."""


@dataclass(frozen=True, slots=True)
class PatientIndices:
    """Measured and true indices of one evaluated patient.

    Attributes:
        patient: Identifier of the patient.
        group: Disease group.
        predicted: Indices from the predicted masks.
        truth: Indices from the labels.
    """

    patient: str
    group: str
    predicted: CardiacIndices
    truth: CardiacIndices


def summarise(cases: Sequence[Case], *, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Any]:
    """Figures of an evaluation as they stand in `metrics.json`.

    `mean` is the mean over RV, MYO and LV of the mean over volumes. Volumes of
    patients with one phase count for overlap and distances, not for EF.

    Args:
        cases: Evaluated volumes, at least one.
        resamples: Number of bootstrap resamples.
        seed: Seed of the bootstrap.

    Returns:
        `summary` (each metric in METRIC_NAMES by structure and `mean`; each index
        in INDEX_FIELDS with `mae`, `bias`, `loa`, `pearson`; `seconds_per_volume`,
        the median in seconds; `patients`; `volumes`), `intervals` (the same tree
        with `[low, high]`, None with fewer than two patients), `by_phase`,
        `by_group`, `absent_from` (how many volumes lack a structure, and where),
        `definitions`, `patients` (measured and true indices) and `cases`. What
        is not defined is None.

    Raises:
        ValueError: If there are no cases.
    """
    if not cases:
        raise ValueError("expected at least one evaluated volume, found none")
    patients = patient_indices(cases)
    # One patient says nothing about the spread: weights of 0 leave every interval undefined.
    several = len(patients) > 1
    drawn = bootstrap_weights(len(patients), resamples=resamples, seed=seed) if several else np.zeros((1, 1))
    phases = {phase: [case for case in cases if case.phase == phase] for phase in Phase}
    names = sorted({case.group for case in cases})
    groups = {group: [case for case in cases if case.group == group] for group in names}
    return {
        "summary": _estimate(cases),
        "intervals": _as_intervals(_statistics(cases, patients, drawn)),
        "by_phase": {str(phase): _without_indices(_estimate(part)) for phase, part in phases.items() if part},
        "by_group": {group: _estimate(part) for group, part in groups.items()},
        "absent_from": _count_absent(cases),
        "definitions": dict(DEFINITIONS),
        "patients": [asdict(patient) for patient in patients],
        "cases": [case.as_json() for case in cases],
    }


def patient_indices(cases: Sequence[Case]) -> list[PatientIndices]:
    """Measured and true indices of each patient, in the order of first appearance."""
    by_patient: dict[str, dict[Phase, Case]] = {}
    for case in cases:
        by_patient.setdefault(case.patient, {})[case.phase] = case
    patients = []
    for patient, phases in by_patient.items():
        ed, es = phases.get(Phase.ED), phases.get(Phase.ES)
        predicted = indices_from_volumes(ed.predicted_ml if ed else None, es.predicted_ml if es else None)
        truth = indices_from_volumes(ed.truth_ml if ed else None, es.truth_ml if es else None)
        group = next(iter(phases.values())).group
        patients.append(PatientIndices(patient, group, predicted, truth))
    return patients


def _estimate(cases: Sequence[Case]) -> dict[str, Any]:
    patients = patient_indices(cases)
    estimate: dict[str, Any] = _as_figures(_statistics(cases, patients, np.ones((1, len(patients)))))
    return estimate | {"patients": len(patients), "volumes": len(cases)}


def _without_indices(estimate: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in estimate.items() if key not in INDEX_FIELDS}


def _statistics(
    cases: Sequence[Case], patients: Sequence[PatientIndices], weights: FloatArray
) -> dict[str, Any]:
    position = {patient.patient: index for index, patient in enumerate(patients)}
    owner = np.array([position[case.patient] for case in cases], dtype=np.intp)
    tree: dict[str, Any] = {}
    for metric in METRIC_NAMES:
        columns = {
            LABEL_NAMES[label]: weighted_mean(
                _column([case.value(metric, label) for case in cases]), owner, weights
            )
            for label in FOREGROUND
        }
        tree[metric] = columns | {"mean": mean_of_defined(list(columns.values()))}
    for name, field in INDEX_FIELDS.items():
        measured = _column([getattr(patient.predicted, field) for patient in patients])
        truth = _column([getattr(patient.truth, field) for patient in patients])
        tree[name] = agreement(measured, truth, weights)
    tree["seconds_per_volume"] = weighted_median(_column([case.seconds for case in cases]), owner, weights)
    return tree


def _column(figures: Sequence[float | None]) -> FloatArray:
    return np.array([np.nan if figure is None else figure for figure in figures], dtype=np.float64)


def _as_figures(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _as_figures(branch) for key, branch in tree.items()}
    if isinstance(tree, list):
        ends = [_as_figures(end) for end in tree]
        return None if None in ends else ends
    return float(tree[0]) if np.isfinite(tree[0]) else None


def _as_intervals(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _as_intervals(branch) for key, branch in tree.items()}
    if isinstance(tree, list):
        ends = [percentile_interval(end) for end in tree]
        return None if None in ends else ends
    return percentile_interval(tree)


def _count_absent(cases: Sequence[Case]) -> dict[str, dict[str, int]]:
    counts = {}
    for label in FOREGROUND:
        found = Counter(case.metrics[label].absent_from for case in cases)
        counts[LABEL_NAMES[label]] = {where: found[where] for where in ("prediction", "truth", "both")}
    return counts
