"""Fit the quality score on one section of a datalist, and measure it on another."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pipelines.core.files import output_folder, write_csv, write_json
from pipelines.quality.figures import quality_figures
from pipelines.quality.fit import QUICK_SETS, THOROUGH_SETS, Fit, fit_quality, predicted_dice
from pipelines.quality.measure import Measured
from pipelines.quality.model import QUALITY_NAME, QualityModel, QualityModels, write_quality

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
        The content of `fit.json`: for `quick` and `thorough` what was chosen, the settings tried, and the
        figures in cross-validation.

    Raises:
        DataError: If there are too few patients.
        OutputError: If a file cannot be written.
    """
    output_folder(output)
    fits = {"quick": fit_quality(images, QUICK_SETS)}
    if partner:
        fits["thorough"] = fit_quality(images, THOROUGH_SETS)
    content = {
        "network": network,
        "partner": partner,
        "images": len(images),
        "patients": sorted({image.patient for image in images}),
        **(details or {}),
        **{kind: _told(fit, images) for kind, fit in fits.items()},
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


def _told(fit: Fit, images: Sequence[Measured]) -> dict[str, Any]:
    model = fit.model
    return {
        "features": list(model.features),
        "log_odds": model.log_odds,
        "penalty": fit.penalty,
        "threshold": model.threshold,
        "cross_validation": quality_figures(images, fit.predicted, model.threshold),
        "tried": fit.tried,
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
