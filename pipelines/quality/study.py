"""Fit the quality score on one split of a datalist, and measure it on another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GroupKFold

from pipelines.core.errors import DataError
from pipelines.core.files import output_folder, write_csv, write_json
from pipelines.evaluation.classification import best_threshold, confusion, ranking_scores, scores_of
from pipelines.evaluation.segmentation import MEAN, STRUCTURES
from pipelines.evaluation.statistics import RESAMPLES, agreement, bootstrap_weights, percentile_interval
from pipelines.quality.measure import Measured
from pipelines.quality.model import (
    FLAGGED_BELOW,
    QUALITY_NAME,
    QUICK,
    THOROUGH,
    LinearModel,
    QualityModel,
    QualityModels,
    feature_log_odds,
    to_log_odds,
    write_quality,
)

FloatArray = npt.NDArray[np.float64]

FOLDS: Final = 5


@dataclass(frozen=True, slots=True)
class Fit:
    """A model fitted on all images given, and the mean Dice `(N,)` predicted by cross-validation."""

    model: QualityModel
    predicted: FloatArray


def fit_quality(images: Sequence[Measured], features: tuple[str, ...]) -> Fit:
    """Model of all images, and by cross-validation over patients its threshold.

    The threshold of the flag has the best balanced accuracy for "mean Dice below `FLAGGED_BELOW`" in
    cross-validation; without images on both sides it is `FLAGGED_BELOW` itself.

    Args:
        images: Of patients that the segmenting network has not seen; at least `FOLDS` patients.
        features: Features that the model takes.

    Raises:
        DataError: If there are too few patients.
    """
    patients = np.array([image.patient for image in images])
    if len(set(patients)) < FOLDS:
        raise DataError(
            f"expected at least {FOLDS} patients to fit the quality score on, found {len(set(patients))}"
        )
    predicted = np.empty(len(images))
    for train, test in GroupKFold(FOLDS).split(patients, groups=patients):
        model = QualityModel(features, _linear_models([images[index] for index in train], features))
        predicted[test] = predicted_dice(model, [images[index] for index in test])
    threshold = _threshold(true_dice(images), predicted)
    return Fit(QualityModel(features, _linear_models(images, features), threshold), predicted)


def true_dice(images: Sequence[Measured]) -> FloatArray:
    """`(N,)` true mean Dice."""
    return np.array([image.dice[MEAN] for image in images])


def predicted_dice(model: QualityModel, images: Sequence[Measured]) -> FloatArray:
    """`(N,)` mean Dice that a model predicts."""
    return np.array([model.predict(image.features)[MEAN] for image in images])


def _linear_models(images: Sequence[Measured], features: tuple[str, ...]) -> dict[str, LinearModel]:
    found = {}
    for name in STRUCTURES:
        values = [feature_log_odds(image.features, features, name) for image in images]
        linear = LinearRegression().fit(values, [to_log_odds(image.dice[name]) for image in images])
        found[name] = LinearModel(tuple(linear.coef_.tolist()), float(linear.intercept_))
    return found


def _threshold(truth: FloatArray, predicted: FloatArray) -> float:
    bad = (truth < FLAGGED_BELOW).astype(np.int64)
    if bad.min() == bad.max():
        return FLAGGED_BELOW
    return 1 - best_threshold(bad, 1 - predicted)


def quality_figures(
    images: Sequence[Measured], predicted: FloatArray, threshold: float, *, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """Figures for the clean images, for those with faults, and for all.

    Args:
        images: Measured images.
        predicted: `(N,)` mean Dice predicted for each.
        threshold: Predicted mean Dice below which an image is flagged.
        resamples: Bootstrap resamples, which draw patients.

    Returns:
        For `clean`, `faulty` and `all`: `images`, `patients`, `bad` (true mean Dice below
        `FLAGGED_BELOW`), and by figure its `value` and 95% `interval`: `pearson`, `spearman`, `mae`,
        `auroc`, `sensitivity` and `specificity` of the flag; None where a figure is not defined. A part
        without images is left out.
    """
    clean = np.array([image.is_clean for image in images])
    parts = {"clean": clean, "faulty": ~clean, "all": np.ones(len(images), dtype=bool)}
    return {
        name: _part(
            [images[index] for index in np.flatnonzero(inside)], predicted[inside], threshold, resamples
        )
        for name, inside in parts.items()
        if inside.any()
    }


def _part(
    images: Sequence[Measured], predicted: FloatArray, threshold: float, resamples: int
) -> dict[str, Any]:
    truth = true_dice(images)
    names, owner = np.unique([image.patient for image in images], return_inverse=True)
    plain = np.ones((1, len(images)))
    drawn = bootstrap_weights(len(names), resamples=resamples)[:, owner]
    values, resampled = (_statistics(predicted, truth, threshold, weights) for weights in (plain, drawn))
    figures = {
        name: {"value": float(values[name][0]), "interval": percentile_interval(resampled[name])}
        for name in values
    }
    bad = int((truth < FLAGGED_BELOW).sum())
    return {"images": len(images), "patients": len(names), "bad": bad, **figures}


def _statistics(
    predicted: FloatArray, truth: FloatArray, threshold: float, weights: FloatArray
) -> dict[str, FloatArray]:
    """Each figure `(R,)` for weights `(R, N)` of the images."""
    bad = (truth < FLAGGED_BELOW).astype(np.int64)
    linear = agreement(predicted, truth, weights)
    # The ranks are those among all images: a resample does not rank anew.
    ranked = agreement(rankdata(predicted), rankdata(truth), weights)
    flag = scores_of(confusion(bad, predicted < threshold, weights))
    return {
        "pearson": np.asarray(linear["pearson"]),
        "spearman": np.asarray(ranked["pearson"]),
        "mae": np.asarray(linear["mae"]),
        "auroc": ranking_scores(bad, 1 - predicted, weights)[0],
        "sensitivity": np.asarray(flag["sensitivity"]),
        "specificity": np.asarray(flag["specificity"]),
    }


FIT_NAME: Final = "fit.json"
EVALUATION_NAME: Final = "quality_evaluation.json"
IMAGES_NAME: Final = "images.csv"
MASKS_NAME: Final = "masks"

KINDS: Final = ("quick", "thorough")


def fit_study(
    images: Sequence[Measured],
    output: Path,
    *,
    network: str,
    partner: str = "",
    details: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Fit the models of a network; write `quality.json`, `fit.json` and `images.csv`.

    Args:
        images: As from `measure_images`, of patients that the network has not seen.
        output: Folder for the files; made if it does not exist.
        network: Network that segmented them.
        partner: Second network, if the images have its agreement.
        details: What else to tell of how it was made.

    Returns:
        The content of `fit.json`: for `quick` and `thorough` the features, the threshold, and the figures in
        cross-validation.

    Raises:
        DataError: If there are too few patients, or images lack the agreement of a partner given.
        OutputError: If a file cannot be written.
    """
    if partner and any("partner_lv" not in image.features for image in images):
        raise DataError(
            f"expected images measured with --partner {partner}, found some without; measure them again"
        )
    output_folder(output)
    fits = {"quick": fit_quality(images, QUICK)}
    if partner:
        fits["thorough"] = fit_quality(images, THOROUGH)
    content = {
        "network": network,
        "partner": partner,
        "images": len(images),
        "patients": sorted({image.patient for image in images}),
        **(details or {}),
        **{kind: _fit_json(fit, images) for kind, fit in fits.items()},
    }
    models = QualityModels(
        quick=fits["quick"].model,
        thorough=fits["thorough"].model if partner else None,
        partner=partner,
        made={key: content[key] for key in content if key not in KINDS},
    )
    write_quality(output / QUALITY_NAME, models)
    _write_images(output, images)
    write_json(output / FIT_NAME, content)
    return content


def evaluate_study(
    images: Sequence[Measured],
    models: QualityModels,
    output: Path,
    *,
    details: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Measure fitted models; write `quality_evaluation.json` and `images.csv`.

    Args:
        images: As from `measure_images`, of patients that neither the network nor the fit has seen.
        models: As from `read_quality`.
        output: Folder for the files; made if it does not exist.
        details: What else to tell of the measurement.

    Returns:
        The content of `quality_evaluation.json`: for `quick` and, where the images have the features,
        `thorough`, the figures of `quality_figures`, and the predictions.

    Raises:
        OutputError: If a file cannot be written.
    """
    output_folder(output)
    content: dict[str, Any] = {
        "images": len(images),
        "patients": sorted({image.patient for image in images}),
        **(details or {}),
        "quick": _measured(models.quick, images),
    }
    if models.thorough is not None and "partner_lv" in images[0].features:
        content["thorough"] = _measured(models.thorough, images)
    _write_images(output, images)
    write_json(output / EVALUATION_NAME, content)
    return content


def _fit_json(fit: Fit, images: Sequence[Measured]) -> dict[str, Any]:
    model = fit.model
    return {
        "features": list(model.features),
        "threshold": model.threshold,
        "cross_validation": quality_figures(images, fit.predicted, model.threshold),
    }


def _measured(model: QualityModel, images: Sequence[Measured]) -> dict[str, Any]:
    predicted = predicted_dice(model, images)
    return {
        "threshold": model.threshold,
        **quality_figures(images, predicted, model.threshold),
        "predictions": [
            {
                "patient": image.patient,
                "phase": image.phase,
                "fault": image.fault,
                "dice": image.dice["mean"],
                "predicted": float(value),
            }
            for image, value in zip(images, predicted, strict=True)
        ],
    }


def _write_images(output: Path, images: Sequence[Measured]) -> None:
    rows = [image.as_row() for image in images]
    write_csv(output / IMAGES_NAME, rows[0], rows)
