"""Fitting the quality score, its settings chosen by cross-validation over patients."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.stats import pearsonr
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler

from pipelines.core.errors import DataError
from pipelines.evaluation.classification import best_threshold
from pipelines.evaluation.segmentation import MEAN, STRUCTURES
from pipelines.quality.features import QUICK, THOROUGH
from pipelines.quality.measure import Measured
from pipelines.quality.model import FLAGGED_BELOW, LinearModel, QualityModel, feature_values, to_log_odds

FloatArray = npt.NDArray[np.float64]

QUICK_SETS: Final = (("certainty",), ("certainty", "warnings"), QUICK)
THOROUGH_SETS: Final = (
    ("partner",),
    ("certainty", "partner"),
    ("certainty", "partner", "warnings"),
    THOROUGH,
)
"""Sets of features that are tried."""

PENALTIES: Final = (1.0, 10.0, 100.0)
"""Ridge penalties that are tried, for standardised features."""

FOLDS: Final = 5


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted model with what was seen when it was chosen.

    Attributes:
        model: Fitted on all images given.
        penalty: Ridge penalty chosen.
        predicted: `(N,)` mean Dice predicted for each image by a model that has not seen its patient.
        tried: Settings with their scores in cross-validation, best first.
    """

    model: QualityModel
    penalty: float
    predicted: FloatArray
    tried: list[dict[str, Any]]


def fit_quality(images: Sequence[Measured], sets: Sequence[tuple[str, ...]]) -> Fit:
    """Model chosen by cross-validation over patients, then fitted on all images.

    Settings are scored by the mean of two correlations (Pearson) of predicted and true mean Dice in
    cross-validation: over the clean images and over all. The threshold of the flag has the best balanced
    accuracy for "mean Dice below `FLAGGED_BELOW`" there; without images on both sides it is
    `FLAGGED_BELOW` itself.

    Args:
        images: Of patients that the segmenting network has not seen; at least `FOLDS` patients.
        sets: Sets of features to choose from.

    Raises:
        DataError: If there are too few patients.
    """
    patients = np.array([image.patient for image in images])
    if len(set(patients)) < FOLDS:
        raise DataError(
            f"expected at least {FOLDS} patients to fit the quality score on, found {len(set(patients))}"
        )
    truth = true_dice(images)
    clean = np.array([image.is_clean for image in images])
    found = []
    for features, log_odds, penalty in itertools.product(sets, (False, True), PENALTIES):
        predicted = _cross_predict(images, patients, features, log_odds, penalty)
        scores = (correlation(predicted[clean], truth[clean]), correlation(predicted, truth))
        found.append((float(np.mean(scores)), features, log_odds, penalty, predicted, scores))
    found.sort(key=lambda entry: entry[0], reverse=True)
    _, features, log_odds, penalty, predicted, _ = found[0]
    model = _fit(images, features, log_odds, penalty, _threshold(truth, predicted))
    tried = [
        {
            "features": list(entry[1]),
            "log_odds": entry[2],
            "penalty": entry[3],
            "pearson_clean": entry[5][0],
            "pearson_all": entry[5][1],
        }
        for entry in found
    ]
    return Fit(model, penalty, predicted, tried)


def true_dice(images: Sequence[Measured]) -> FloatArray:
    """`(N,)` true mean Dice."""
    return np.array([image.dice[MEAN] for image in images])


def predicted_dice(model: QualityModel, images: Sequence[Measured]) -> FloatArray:
    """`(N,)` mean Dice that a model predicts."""
    return np.array([model.predict(image.features)[MEAN] for image in images])


def correlation(first: FloatArray, second: FloatArray) -> float:
    """Pearson correlation, 0 where one does not vary: it then tells nothing of the other."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(pearsonr(first, second).statistic)


def _cross_predict(
    images: Sequence[Measured],
    patients: npt.NDArray[np.str_],
    features: tuple[str, ...],
    log_odds: bool,
    penalty: float,
) -> FloatArray:
    predicted = np.empty(len(images))
    for train, test in GroupKFold(FOLDS).split(patients, groups=patients):
        model = _fit([images[index] for index in train], features, log_odds, penalty, FLAGGED_BELOW)
        predicted[test] = predicted_dice(model, [images[index] for index in test])
    return predicted


def _fit(
    images: Sequence[Measured], features: tuple[str, ...], log_odds: bool, penalty: float, threshold: float
) -> QualityModel:
    structures = {}
    for name in STRUCTURES:
        values = np.array([feature_values(image.features, features, name, log_odds) for image in images])
        dice = [image.dice[name] for image in images]
        target = [to_log_odds(value) for value in dice] if log_odds else dice
        scaler = StandardScaler().fit(values)
        ridge = Ridge(alpha=penalty).fit(scaler.transform(values), target)
        structures[name] = LinearModel(
            mean=tuple(scaler.mean_.tolist()),
            scale=tuple(scaler.scale_.tolist()),
            weights=tuple(ridge.coef_.tolist()),
            intercept=float(ridge.intercept_),
        )
    return QualityModel(features, log_odds, structures, threshold)


def _threshold(truth: FloatArray, predicted: FloatArray) -> float:
    bad = (truth < FLAGGED_BELOW).astype(np.int64)
    if bad.min() == bad.max():
        return FLAGGED_BELOW
    return 1 - best_threshold(bad, 1 - predicted)
