import json
import math
from pathlib import Path

import numpy as np
import pytest

from pipelines.core.errors import ConfigError
from pipelines.core.records import FOREGROUND, AcdcLabel
from pipelines.core.volume import Volume
from pipelines.models.heart import Prediction
from pipelines.quality.model import (
    LinearModel,
    QualityModel,
    QualityModels,
    agreement,
    neighbour_overlap,
    partner_features,
    quality_beside,
    quick_features,
    read_quality,
    to_log_odds,
    write_quality,
)

SPACING = (1.0, 1.0, 10.0)


def image(mask: np.ndarray) -> Volume:
    return Volume(mask.astype(np.float32), np.diag([*SPACING, 1.0]), SPACING)


def test_neighbours_overlap_by_the_dice_of_slices_that_both_have_the_structure() -> None:
    mask = np.zeros((8, 8, 4), np.uint8)
    mask[0:4, 0:4, 0] = AcdcLabel.LV
    mask[0:4, 0:4, 1] = AcdcLabel.LV
    mask[0:4, 0:2, 2] = AcdcLabel.LV
    assert neighbour_overlap(mask, AcdcLabel.LV) == pytest.approx((1 + 2 * 8 / 24) / 2)
    assert neighbour_overlap(mask[..., :1], AcdcLabel.LV) == 0.0


def test_two_masks_without_the_structure_do_not_agree_on_a_heart() -> None:
    empty = np.zeros((4, 4, 2), np.uint8)
    assert agreement(empty, empty, AcdcLabel.LV) == 0.0
    assert set(partner_features(empty, empty).values()) == {0.0}


def test_partner_is_the_dice_of_the_two_masks() -> None:
    first, second = np.zeros((4, 4, 1), np.uint8), np.zeros((4, 4, 1), np.uint8)
    first[:2], second[1:2] = AcdcLabel.RV, AcdcLabel.RV
    assert partner_features(first, second)["partner_rv"] == pytest.approx(2 * 4 / 12)


def test_quick_features_of_a_mask_tell_size_certainty_and_warnings() -> None:
    mask = np.zeros((40, 40, 6), np.uint8)
    mask[10:20, 10:20, 1:5] = AcdcLabel.LV  # 100 mm2 in 4 slices of 10 mm: 4 mL, without a ring
    certainty = dict.fromkeys(FOREGROUND, 0.8)
    found = quick_features(Prediction(mask, {}, certainty), image(mask))
    assert found["log_ml_lv"] == pytest.approx(math.log(4.0))
    assert found["log_ml_rv"] == pytest.approx(math.log(0.1))
    assert found["certainty_myo"] == 0.8
    assert found["neighbours_lv"] == 1.0
    # RV and myocardium are empty, and 4 mL are too few.
    assert found["warnings_lv"] == found["warnings_rv"] == 3.0


def test_slices_on_another_axis_give_the_same_features() -> None:
    mask = np.zeros((40, 40, 6), np.uint8)
    mask[10:20, 10:20, 1:5] = AcdcLabel.LV
    certainty = dict.fromkeys(FOREGROUND, 0.8)
    turned = np.moveaxis(mask, 2, 0)
    volume = Volume(turned.astype(np.float32), np.diag([10.0, 1.0, 1.0, 1.0]), (10.0, 1.0, 1.0))
    assert quick_features(Prediction(turned, {}, certainty), volume) == quick_features(
        Prediction(mask, {}, certainty), image(mask)
    )


LINEAR = LinearModel(mean=(0.8,), scale=(0.1,), weights=(0.05,), intercept=0.9)
STRUCTURES = dict.fromkeys(("rv", "myo", "lv"), LINEAR)
FEATURES = {"certainty_rv": 0.8, "certainty_myo": 0.7, "certainty_lv": 0.9}


def test_dice_is_the_linear_function_of_standardised_features() -> None:
    found = QualityModel(("certainty",), False, STRUCTURES).predict(FEATURES)
    assert found == pytest.approx({"rv": 0.9, "myo": 0.85, "lv": 0.95, "mean": 0.9})


def test_a_prediction_stays_within_0_and_1() -> None:
    found = QualityModel(("certainty",), False, STRUCTURES).predict(dict.fromkeys(FEATURES, 9.0))
    assert found["mean"] == 1.0


def test_log_odds_of_a_share_come_back_as_the_share() -> None:
    unit = LinearModel(mean=(0.0,), scale=(1.0,), weights=(1.0,), intercept=0.0)
    model = QualityModel(("certainty",), True, dict.fromkeys(STRUCTURES, unit))
    assert model.predict(FEATURES) == pytest.approx({"rv": 0.8, "myo": 0.7, "lv": 0.9, "mean": 0.8})
    assert to_log_odds(1.0) == to_log_odds(0.99)


def test_what_is_written_is_read_and_holds_numbers_only(tmp_path: Path) -> None:
    models = QualityModels(
        QualityModel(("certainty",), True, STRUCTURES, 0.86),
        QualityModel(("certainty", "partner"), False, STRUCTURES),
        "vnet",
        {"patients": ["a"]},
    )
    write_quality(tmp_path / "quality.json", models)
    assert quality_beside(tmp_path / "model.pt") == models
    assert json.loads((tmp_path / "quality.json").read_text(encoding="utf-8"))["quick"]["threshold"] == 0.86


def test_weights_without_a_quality_model_have_none(tmp_path: Path) -> None:
    assert quality_beside(tmp_path / "model.pt") is None


@pytest.mark.parametrize("text", ["", "{}", '{"quick": {"structures": {"lv": 1}}, "thorough": null}', "[1]"])
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "quality.json").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"expected the quality model.*quality\.json.*fit it"):
        read_quality(tmp_path / "quality.json")
