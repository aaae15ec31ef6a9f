from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from measured_images import measured_images

from pipelines.core.errors import DataError
from pipelines.quality.model import FLAGGED_BELOW, QUICK
from pipelines.quality.study import (
    Fit,
    fit_quality,
    fit_study,
    predicted_dice,
    quality_figures,
    true_dice,
)


@pytest.fixture(scope="module")
def fit() -> Fit:
    return fit_quality(measured_images(), QUICK)


def test_dice_that_follows_from_a_feature_is_predicted_for_patients_not_seen(fit: Fit) -> None:
    unseen = measured_images(seed=1)
    error = np.abs(predicted_dice(fit.model, unseen) - true_dice(unseen))
    assert error.mean() < 0.03


def test_cross_validation_does_not_see_the_patient_that_it_predicts() -> None:
    """Of a feature that tells nothing, a fit that saw the patient would still make something."""
    images = measured_images(noise=0.0)
    rng = np.random.default_rng(3)
    shuffled = [
        replace(image, dice=dict.fromkeys(image.dice, float(value)))
        for image, value in zip(images, rng.permutation(true_dice(images)), strict=True)
    ]
    fit = fit_quality(shuffled, ("partner",))
    assert abs(np.corrcoef(fit.predicted, true_dice(shuffled))[0, 1]) < 0.5


def test_the_threshold_parts_bad_from_good(fit: Fit) -> None:
    images = measured_images()
    bad = true_dice(images) < FLAGGED_BELOW
    flagged = fit.predicted < fit.model.threshold
    assert (bad == flagged).mean() > 0.85


def test_without_a_bad_image_the_threshold_is_the_limit_itself() -> None:
    good = [image for image in measured_images(patients=30) if image.dice["mean"] > 0.87]
    assert fit_quality(good, QUICK).model.threshold == FLAGGED_BELOW


def test_images_without_the_agreement_of_the_partner_named_are_refused(tmp_path: Path) -> None:
    images = [replace(image, features={"certainty_lv": 0.9}) for image in measured_images()]
    with pytest.raises(DataError, match="measured with --partner vnet, found some without"):
        fit_study(images, tmp_path, network="unet", partner="vnet")


def test_too_few_patients_are_refused() -> None:
    with pytest.raises(DataError, match="expected at least 5 patients.*found 3"):
        fit_quality(measured_images(patients=3), QUICK)


def test_figures_of_a_perfect_prediction() -> None:
    images = measured_images()
    truth = true_dice(images)
    figures = quality_figures(images, truth, FLAGGED_BELOW, resamples=50)
    assert figures["all"]["images"] == 24
    assert figures["clean"]["patients"] == 12
    for name in ("pearson", "spearman", "auroc", "sensitivity", "specificity"):
        assert figures["all"][name]["value"] == pytest.approx(1.0)
        assert figures["all"][name]["interval"] == pytest.approx([1.0, 1.0])
    assert figures["all"]["mae"]["value"] == 0.0


def test_figures_of_a_hand_computed_case() -> None:
    values = ((0.9, 0.8), (0.8, 0.9), (0.6, 0.5), (0.95, 0.95))  # true, predicted
    images = [
        replace(image, dice={"mean": true}, fault="none")
        for image, (true, _) in zip(measured_images(patients=2), values, strict=True)
    ]
    predicted = np.array([value for _, value in values])
    found = quality_figures(images, predicted, 0.85, resamples=20)["clean"]
    assert found["bad"] == 2
    assert found["sensitivity"]["value"] == 0.5  # 0.6 is flagged, 0.8 is not
    assert found["specificity"]["value"] == 0.5  # 0.9 is flagged, 0.95 is not
    assert found["auroc"]["value"] == pytest.approx(3 / 4)
    assert found["mae"]["value"] == pytest.approx(0.075)
    assert found["spearman"]["value"] == pytest.approx(1 - 6 * 2 / (4 * 15))


def test_a_part_without_bad_images_has_no_auroc() -> None:
    good = [image for image in measured_images(patients=30) if image.dice["mean"] > 0.87]
    figures = quality_figures(good, true_dice(good), FLAGGED_BELOW, resamples=20)
    assert np.isnan(figures["all"]["auroc"]["value"])
    assert figures["all"]["auroc"]["interval"] is None
