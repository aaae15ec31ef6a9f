"""Classifiers of the disease group, chosen and measured by nested cross-validation over patients."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from pipelines.core.errors import DataError
from pipelines.disease.patients import MeasuredHeart

FloatArray = npt.NDArray[np.float64]
Groups = npt.NDArray[np.str_]

TREES: Final = 200
FOLDS: Final = 5
REPEATS: Final = 10
"""Times that each feature is shuffled for its importance."""

LEAST_OF_A_GROUP: Final = 3
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
        told = ", ".join(f"{name} {count}" for name, count in zip(names, counts, strict=True))
        raise DataError(f"expected two groups or more of at least 2 patients each, found {told}; give more")
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
    if folds < LEAST_OF_A_GROUP:
        raise DataError(
            f"expected at least {LEAST_OF_A_GROUP} patients of each group for nested cross-validation, "
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
    told = ", ".join(f"{key.removeprefix('classifier__')} {value}" for key, value in best.items())
    return f"{name} ({told})" if told else name
