"""How well the disease group follows from the segmentation: classifiers by nested cross-validation."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import Pipeline
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

MIN_OF_A_GROUP: Final = 3
"""Patients of a group: one to measure on, one to choose on and one to fit on."""


def search(*, folds: int = FOLDS, seed: int = 0) -> GridSearchCV:
    """Search over the classifiers, to be fitted on features and groups.

    Logistic regression of three strengths, random forests of two sizes of leaf, and the mean of the
    probabilities of the two.

    Args:
        folds: Inner folds, stratified by group.
        seed: Seed of the forests and of the folds.
    """
    logistic = LogisticRegression(max_iter=2000)
    forest = RandomForestClassifier(TREES, random_state=seed)
    both = VotingClassifier([("logistic", logistic), ("forest", forest)], voting="soft")
    grid: list[dict[str, list[Any]]] = [
        {"classifier": [logistic], "classifier__C": [0.1, 1.0, 10.0]},
        {"classifier": [forest], "classifier__min_samples_leaf": [1, 3]},
        {"classifier": [both]},
    ]
    steps = Pipeline([("scale", StandardScaler()), ("classifier", logistic)])
    inner = StratifiedKFold(folds, shuffle=True, random_state=seed)
    return GridSearchCV(steps, grid, cv=inner, scoring="accuracy")


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


def fit_search(values: FloatArray, groups: Groups, *, seed: int = 0) -> GridSearchCV:
    """The best classifier of the search, fitted on all that is given; fewer folds for small groups.

    Raises:
        DataError: If there are fewer than two groups, or a group has a single patient.
    """
    names, counts = np.unique(groups, return_counts=True)
    if len(names) < 2 or counts.min() < 2:
        words = ", ".join(f"{name} {count}" for name, count in zip(names, counts, strict=True))
        raise DataError(f"expected two groups or more of at least 2 patients each, found {words}; give more")
    found = search(folds=min(FOLDS, int(counts.min())), seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return found.fit(values, groups)


@dataclass(frozen=True, slots=True)
class Nested:
    """Outcome of a nested cross-validation.

    Attributes:
        predicted: `(N,)` group of each patient by a classifier chosen and fitted without that patient.
        predicted_other: The same from the other features, None if there are none.
        chosen: What each outer fold chose, in words.
        importance: Loss of accuracy on the unseen fold when a feature is shuffled, the largest first:
            `feature`, `mean` and `std` over folds and shuffles.
    """

    predicted: Groups
    predicted_other: Groups | None
    chosen: list[str]
    importance: list[dict[str, Any]]


def nested(
    values: FloatArray,
    groups: Groups,
    names: Sequence[str],
    other: FloatArray | None = None,
    *,
    seed: int = 0,
) -> Nested:
    """Cross-validation over patients with the choice of the classifier inside each fold.

    Args:
        values: `(N, F)` features to fit on.
        groups: `(N,)` true groups.
        names: Names of the features.
        other: `(N, F)` features of the same patients to predict from too, such as those of masks that
            a network found.
        seed: Seed of folds and forests.

    Raises:
        DataError: If there are too few patients of a group: each needs at least 3.
    """
    _, counts = np.unique(groups, return_counts=True)
    folds = min(FOLDS, int(counts.min()))
    if folds < MIN_OF_A_GROUP:
        raise DataError(
            f"expected at least {MIN_OF_A_GROUP} patients of each group for nested cross-validation, "
            f"found {int(counts.min())}; give more"
        )
    outer = StratifiedKFold(folds, shuffle=True, random_state=seed)
    predicted = groups.copy()
    predicted_other = None if other is None else groups.copy()
    choices, losses = [], []
    for train, test in outer.split(values, groups):
        found = fit_search(values[train], groups[train], seed=seed)
        predicted[test] = found.predict(values[test])
        if other is not None and predicted_other is not None:
            predicted_other[test] = found.predict(other[test])
        choices.append(chosen(found))
        shuffled = permutation_importance(
            found, values[test], groups[test], n_repeats=REPEATS, random_state=seed
        )
        losses.append(shuffled.importances)
    loss = np.concatenate(losses, axis=1)
    rows = [
        {"feature": name, "mean": float(values.mean()), "std": float(values.std())}
        for name, values in zip(names, loss, strict=True)
    ]
    return Nested(
        predicted, predicted_other, choices, sorted(rows, key=lambda row: row["mean"], reverse=True)
    )


def chosen(found: GridSearchCV) -> str:
    """What a search chose, in words."""
    best = dict(found.best_params_)
    classifier = best.pop("classifier")
    name = {
        "LogisticRegression": "logistic regression",
        "RandomForestClassifier": "random forest",
        "VotingClassifier": "mean of logistic regression and random forest",
    }[type(classifier).__name__]
    words = ", ".join(f"{key.removeprefix('classifier__')} {value}" for key, value in best.items())
    return f"{name} ({words})" if words else name


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

    Classifiers are chosen and fitted on features of true label maps. `cross_validation` measures on
    patients outside the test set; `hold_out` measures once, with the classifier of all these patients.
    Each has `truth`, from true label maps, and `masks`, from the masks given, of the patients that have
    them: it is for the caller to see that the network had not seen these patients.

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
    show_progress(2, STEPS, "nested cross-validation")
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
        outside = [[heart for heart in cohort if not kept[heart.patient]] for cohort in (hearts, found)]
        content["hold_out"] = _hold_out(inside, outside[0], outside[1], names, seed)
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


def _problem_json(problem: Problem, source: str) -> dict[str, str]:
    return {"patient": problem.patient, "source": source, "reason": problem.reason}


def _row(heart: MeasuredHeart, source: str, names: Sequence[str]) -> dict[str, Any]:
    words = {"patient": heart.patient, "group": heart.group, "source": source}
    return words | {name: heart.features[name] for name in names}
