"""How well the disease group follows from the segmentation: a classifier by cross-validation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pipelines.core.errors import DataError
from pipelines.core.files import output_folder, write_csv, write_json
from pipelines.core.progress import show_progress
from pipelines.core.records import Problem
from pipelines.disease.measure import MeasuredHeart, measure_hearts

FloatArray = npt.NDArray[np.float64]
Groups = npt.NDArray[np.str_]

TREES: Final = 200
FOLDS: Final = 5
REPEATS: Final = 10
"""Times that each feature is shuffled for its importance."""

MIN_OF_A_GROUP: Final = 2
"""Patients of a group: one to measure on and one to fit on."""


def shared_features(*cohorts: Sequence[MeasuredHeart]) -> list[str]:
    """Names of the features that every patient has, in order.

    Raises:
        DataError: If there is no patient.
    """
    hearts = [heart for cohort in cohorts for heart in cohort]
    if not hearts:
        raise DataError("expected patients with ED and ES label maps, found none; see the problems listed")
    return [name for name in hearts[0].features if all(name in heart.features for heart in hearts)]


def matrix(hearts: Sequence[MeasuredHeart], names: Sequence[str]) -> tuple[FloatArray, Groups]:
    """Features `(N, F)` and groups `(N,)`."""
    values = [[heart.features[name] for name in names] for heart in hearts]
    return np.array(values, dtype=np.float64).reshape(-1, len(names)), np.array([h.group for h in hearts])


def fit(
    values: FloatArray, groups: Groups, masks: FloatArray | None = None, *, seed: int = 0
) -> VotingClassifier:
    """Mean of the probabilities of a logistic regression and a random forest.

    Args:
        values: `(N, F)` features of true label maps.
        groups: `(N,)` groups.
        masks: `(N, F)` features of predicted masks of the same patients to fit on too, NaN where there are
            none: the classifier then learns what a network's errors look like.
        seed: Seed of the forest.

    Raises:
        DataError: If there are fewer than two groups.
    """
    if len(found := np.unique(groups)) < 2:
        raise DataError(f"expected patients of two groups or more, found {', '.join(found)}; give more")
    if masks is not None:
        known = ~np.isnan(masks).any(axis=1)
        values, groups = np.concatenate([values, masks[known]]), np.concatenate([groups, groups[known]])
    logistic = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    forest = RandomForestClassifier(TREES, random_state=seed)
    both = VotingClassifier([("logistic", logistic), ("forest", forest)], voting="soft")
    return both.fit(values, groups)


@dataclass(frozen=True, slots=True)
class CrossValidated:
    """Outcome of a cross-validation.

    Attributes:
        predicted: `(N,)` group of each patient by a classifier fitted without that patient.
        predicted_masks: `(N,)` the same from features of predicted masks, empty where there are none.
        importance: Loss of accuracy on the unseen fold when a feature is shuffled, the largest first:
            `feature`, `mean` and `std` over folds and shuffles.
    """

    predicted: Groups
    predicted_masks: Groups
    importance: list[dict[str, Any]]


def cross_validate(
    values: FloatArray, groups: Groups, names: Sequence[str], masks: FloatArray, *, seed: int = 0
) -> CrossValidated:
    """Cross-validation over patients, stratified by group.

    Args:
        values: `(N, F)` features of true label maps.
        groups: `(N,)` true groups.
        names: Names of the features.
        masks: `(N, F)` features of predicted masks of the same patients, NaN where there are none.
        seed: Seed of folds and forests.

    Raises:
        DataError: If there are too few patients of a group: each needs at least 2.
    """
    _, counts = np.unique(groups, return_counts=True)
    folds = min(FOLDS, int(counts.min()))
    if folds < MIN_OF_A_GROUP:
        raise DataError(
            f"expected at least {MIN_OF_A_GROUP} patients of each group for cross-validation, "
            f"found {int(counts.min())}; give more"
        )
    predicted, predicted_masks = np.full_like(groups, ""), np.full_like(groups, "")
    known = ~np.isnan(masks).any(axis=1)
    losses = []
    for train, test in StratifiedKFold(folds, shuffle=True, random_state=seed).split(values, groups):
        found = fit(values[train], groups[train], masks[train], seed=seed)
        predicted[test] = found.predict(values[test])
        if len(those := test[known[test]]):
            predicted_masks[those] = found.predict(masks[those])
        shuffled = permutation_importance(
            found, values[test], groups[test], n_repeats=REPEATS, random_state=seed
        )
        losses.append(shuffled.importances)
    loss = np.concatenate(losses, axis=1)
    rows: list[dict[str, Any]] = [
        {"feature": name, "mean": float(values.mean()), "std": float(values.std())}
        for name, values in zip(names, loss, strict=True)
    ]
    rows.sort(key=lambda row: row["mean"], reverse=True)
    return CrossValidated(predicted, predicted_masks, rows)


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
) -> dict[str, Any]:
    """Accuracy of the disease group, written to `disease.json`, and the features to `features.csv`.

    The classifier is fitted on features of true label maps and of the masks given. `cross_validation`
    measures on patients outside the test set; `hold_out` measures once, with the classifier of all these
    patients. Each has `truth`, from true label maps, and `masks`, from the masks given, of the patients that
    have them: it is for the caller to see that the network had not seen these patients.

    Args:
        datalist: As from `read_datalist`, with disease groups.
        output: Folder for the results; made if it does not exist.
        masks: Folder of predicted masks; see `mask_of`.
        hold_out: Whether to measure on the test set.
        seed: Seed of folds and forests.

    Returns:
        The content of `disease.json`.

    Raises:
        DataError: If there are too few patients.
        OutputError: If a file cannot be written.
    """
    output_folder(output)
    items = list(datalist["volumes"])
    root = Path(datalist["root"])
    show_progress(0, STEPS, "true label maps")
    hearts, problems = measure_hearts(items, root=root)
    show_progress(1, STEPS, "masks")
    found, faults = measure_hearts(items, root=root, masks=masks) if masks else ([], [])
    kept = {item["patient"]: item["part"] != HOLD_OUT for item in items}
    inside = [heart for heart in hearts if kept[heart.patient]]
    names = shared_features(hearts, found)
    show_progress(2, STEPS, "cross-validation")
    content: dict[str, Any] = {
        "features": names,
        "seed": seed,
        "split_hash": datalist["split_hash"],
        "cross_validation": _cross_validation(inside, found, names, seed),
        "hold_out": None,
        "problems": [_problem_json(problem, "truth") for problem in problems]
        + [_problem_json(problem, "masks") for problem in faults],
    }
    if hold_out:
        show_progress(3, STEPS, "test set")
        outside = [heart for heart in hearts if not kept[heart.patient]]
        content["hold_out"] = _hold_out(inside, outside, found, names, seed)
    sources = (("truth", hearts), ("masks", found))
    rows = [_row(heart, source, names) for source, cohort in sources for heart in cohort]
    write_csv(output / TABLE_NAME, rows[0], rows)
    write_json(output / CONTENT_NAME, content)
    show_progress(STEPS, STEPS, "done")
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


def _masks_beside(
    hearts: Sequence[MeasuredHeart], found: Sequence[MeasuredHeart], names: Sequence[str]
) -> FloatArray:
    """Features of the predicted masks of the patients in `hearts`, NaN where there are none."""
    by_name = {heart.patient: heart.features for heart in found}
    rows = [[by_name.get(heart.patient, {}).get(name, np.nan) for name in names] for heart in hearts]
    return np.array(rows, dtype=np.float64).reshape(-1, len(names))


def _cross_validation(
    inside: Sequence[MeasuredHeart], found: Sequence[MeasuredHeart], names: Sequence[str], seed: int
) -> dict[str, Any]:
    values, groups = matrix(inside, names)
    result = cross_validate(values, groups, names, _masks_beside(inside, found, names), seed=seed)
    patients = np.array([heart.patient for heart in inside])
    known = result.predicted_masks != ""
    return {
        "truth": accuracy_figures(groups, result.predicted, patients.tolist()),
        "importance": result.importance,
        "masks": accuracy_figures(groups[known], result.predicted_masks[known], patients[known].tolist())
        if known.any()
        else None,
    }


def _hold_out(
    inside: Sequence[MeasuredHeart],
    outside: Sequence[MeasuredHeart],
    found: Sequence[MeasuredHeart],
    names: Sequence[str],
    seed: int,
) -> dict[str, Any]:
    of_all = fit(*matrix(inside, names), _masks_beside(inside, found, names), seed=seed)

    def figures(hearts: Sequence[MeasuredHeart]) -> dict[str, Any] | None:
        if not hearts:
            return None
        values, groups = matrix(hearts, names)
        return accuracy_figures(groups, of_all.predict(values), [heart.patient for heart in hearts])

    own = {heart.patient for heart in outside}
    return {"truth": figures(outside), "masks": figures([one for one in found if one.patient in own])}


def _problem_json(problem: Problem, source: str) -> dict[str, str]:
    return {"patient": problem.patient, "source": source, "reason": problem.reason}


def _row(heart: MeasuredHeart, source: str, names: Sequence[str]) -> dict[str, Any]:
    words = {"patient": heart.patient, "group": heart.group, "source": source}
    return words | {name: heart.features[name] for name in names}
