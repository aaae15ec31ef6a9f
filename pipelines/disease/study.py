"""How well the disease group follows from the segmentation: nested cross-validation and hold-out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from scipy.stats import binomtest

from pipelines.core.files import output_folder, write_csv, write_json
from pipelines.core.progress import Progress
from pipelines.core.records import Problem
from pipelines.disease.classify import (
    Groups,
    chosen,
    fit_search,
    matrix,
    nested,
    shared_features,
)
from pipelines.disease.patients import MeasuredHeart, measure_hearts

CONTENT_NAME: Final = "disease.json"
TABLE_NAME: Final = "features.csv"
HOLD_OUT: Final = "test"
STEPS: Final = 4


def study_disease(
    datalist: Mapping[str, Any],
    output: Path,
    *,
    masks: Path | None = None,
    hold_out: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Accuracy of the disease group, written to `disease.json`, and the features to `features.csv`.

    Classifiers are chosen and fitted on features of true label maps. `cross_validation` measures on
    patients outside the hold-out; `hold_out` measures once, with the classifier of all these patients.
    Each has `truth`, from true label maps, and `masks`, from the masks given, of the patients that have
    them: it is for the caller to see that the network had not seen these patients.

    Args:
        datalist: As from `read_datalist`, with disease groups.
        output: Folder for the results; made if it does not exist.
        masks: Folder of predicted masks; see `mask_of`.
        hold_out: Whether to measure on the hold-out.
        seed: Seed of folds and forests.
        progress: Told of the steps.

    Returns:
        The content of `disease.json`.

    Raises:
        DataError: If there are too few patients.
        OutputError: If a file cannot be written.
    """
    output_folder(output)
    tell = progress or (lambda done, total, name: None)
    items = list(datalist["volumes"])
    root = Path(datalist["root"])
    tell(0, STEPS, "true label maps")
    hearts, problems = measure_hearts(items, root=root)
    tell(1, STEPS, "masks")
    found, faults = measure_hearts(items, root=root, masks=masks) if masks else ([], [])
    kept = {item["patient"]: item["part"] != HOLD_OUT for item in items}
    inside = [heart for heart in hearts if kept[heart.patient]]
    names = shared_features(hearts, found)
    tell(2, STEPS, "nested cross-validation")
    content: dict[str, Any] = {
        "features": names,
        "seed": seed,
        "split_hash": datalist["split_hash"],
        "cross_validation": _cross_validation(inside, found, names, seed),
        "hold_out": None,
        "problems": [_told(problem, "truth") for problem in problems]
        + [_told(problem, "masks") for problem in faults],
    }
    if hold_out:
        tell(3, STEPS, "hold-out")
        outside = [[heart for heart in cohort if not kept[heart.patient]] for cohort in (hearts, found)]
        content["hold_out"] = _hold_out(inside, outside[0], outside[1], names, seed)
    sources = (("truth", hearts), ("masks", found))
    rows = [_row(heart, source, names) for source, cohort in sources for heart in cohort]
    write_csv(output / TABLE_NAME, rows[0], rows)
    write_json(output / CONTENT_NAME, content)
    tell(STEPS, STEPS, "done")
    return content


def accuracy_figures(truth: Groups, predicted: Groups, patients: Sequence[str]) -> dict[str, Any]:
    """Accuracy with its 95% Wilson interval, confusion matrix, and each patient's groups.

    Args:
        truth: `(N,)` true groups.
        predicted: `(N,)` predicted groups.
        patients: N identifiers.

    Returns:
        `patients`, `right`, `accuracy` and `interval` (None without a patient), `groups` in order,
        `confusion` (rows the truth), and `cases`.

    References:
        Wilson, J Am Stat Assoc 22, 1927, doi:10.1080/01621459.1927.10502953.
    """
    groups = sorted({*truth.tolist(), *predicted.tolist()})
    right, count = int((truth == predicted).sum()), len(truth)
    interval = binomtest(right, count).proportion_ci(method="wilson") if count else None
    return {
        "patients": count,
        "right": right,
        "accuracy": right / count if count else None,
        "interval": [float(interval.low), float(interval.high)] if interval else None,
        "groups": groups,
        "confusion": [
            [int(((truth == row) & (predicted == column)).sum()) for column in groups] for row in groups
        ],
        "cases": [
            {"patient": patient, "group": str(true), "predicted": str(given)}
            for patient, true, given in zip(patients, truth, predicted, strict=True)
        ],
    }


def _cross_validation(
    inside: Sequence[MeasuredHeart], found: Sequence[MeasuredHeart], names: Sequence[str], seed: int
) -> dict[str, Any]:
    values, groups = matrix(inside, names)
    patients = [heart.patient for heart in inside]
    by_name = {heart.patient: heart for heart in found}
    has_mask = np.array([patient in by_name for patient in patients])
    other = None
    if has_mask.any():
        other, _ = matrix([by_name.get(heart.patient, heart) for heart in inside], names)
    result = nested(values, groups, names, other, seed=seed)
    content: dict[str, Any] = {
        "truth": accuracy_figures(groups, result.predicted, patients),
        "chosen": result.chosen,
        "importance": result.importance,
        "masks": None,
    }
    if result.predicted_other is not None:
        those = [patient for patient in patients if patient in by_name]
        content["masks"] = accuracy_figures(groups[has_mask], result.predicted_other[has_mask], those)
    return content


def _hold_out(
    inside: Sequence[MeasuredHeart],
    outside: Sequence[MeasuredHeart],
    found: Sequence[MeasuredHeart],
    names: Sequence[str],
    seed: int,
) -> dict[str, Any]:
    best = fit_search(*matrix(inside, names), seed=seed)

    def figures(hearts: Sequence[MeasuredHeart]) -> dict[str, Any] | None:
        if not hearts:
            return None
        values, groups = matrix(hearts, names)
        return accuracy_figures(groups, best.predict(values), [heart.patient for heart in hearts])

    return {"truth": figures(outside), "masks": figures(found), "chosen": chosen(best)}


def _told(problem: Problem, source: str) -> dict[str, str]:
    return {"patient": problem.patient, "source": source, "reason": problem.reason}


def _row(heart: MeasuredHeart, source: str, names: Sequence[str]) -> dict[str, Any]:
    told = {"patient": heart.patient, "group": heart.group, "source": source}
    return told | {name: heart.features[name] for name in names}
