import json
import math
from pathlib import Path

import numpy as np
import pytest

from pipelines.core.errors import ConfigError
from pipelines.core.records import AcdcLabel
from pipelines.models.heart import Prediction
from pipelines.quality.model import (
    LinearModel,
    QualityModel,
    QualityModels,
    agreement,
    partner_features,
    quality_beside,
    quick_features,
    read_quality,
    to_log_odds,
    write_quality,
)


def test_two_masks_without_the_structure_do_not_agree_on_a_heart() -> None:
    empty = np.zeros((4, 4, 2), np.uint8)
    assert agreement(empty, empty, AcdcLabel.LV) == 0.0
    assert set(partner_features(empty, empty).values()) == {0.0}


def test_partner_is_the_dice_of_the_two_masks() -> None:
    first, second = np.zeros((4, 4, 1), np.uint8), np.zeros((4, 4, 1), np.uint8)
    first[:2], second[1:2] = AcdcLabel.RV, AcdcLabel.RV
    assert partner_features(first, second)["partner_rv"] == pytest.approx(2 * 4 / 12)


def test_the_quick_feature_is_the_certainty_of_each_structure() -> None:
    mask = np.zeros((4, 4, 1), np.uint8)
    certainty = {AcdcLabel.RV: 0.7, AcdcLabel.MYO: 0.8, AcdcLabel.LV: 0.9}
    found = quick_features(Prediction(mask, {}, certainty))
    assert found == {"certainty_rv": 0.7, "certainty_myo": 0.8, "certainty_lv": 0.9}


LINEAR = LinearModel(weights=(2.0,), intercept=math.log(3))
STRUCTURES = dict.fromkeys(("rv", "myo", "lv"), LINEAR)
FEATURES = {"certainty_rv": 0.8, "certainty_myo": 0.7, "certainty_lv": 0.9}


def test_odds_of_dice_are_a_power_of_the_odds_of_the_feature_times_a_factor() -> None:
    found = QualityModel(("certainty",), STRUCTURES).predict(FEATURES)
    expected = {"rv": 3 * 4**2, "myo": 3 * (7 / 3) ** 2, "lv": 3 * 9**2}
    for name, odds in expected.items():
        assert found[name] == pytest.approx(odds / (1 + odds))
    assert found["mean"] == pytest.approx(sum(found[name] for name in expected) / 3)


def test_a_certainty_of_one_counts_as_that_of_the_largest_share() -> None:
    assert to_log_odds(1.0) == to_log_odds(0.99)


def test_what_is_written_is_read_and_holds_numbers_only(tmp_path: Path) -> None:
    models = QualityModels(
        QualityModel(("certainty",), STRUCTURES, 0.86),
        QualityModel(("certainty", "partner"), STRUCTURES),
        "vnet",
        {"patients": ["a"]},
    )
    write_quality(tmp_path / "quality.json", models)
    assert quality_beside(tmp_path / "model.pt") == models
    assert json.loads((tmp_path / "quality.json").read_text(encoding="utf-8"))["quick"]["threshold"] == 0.86


def test_weights_without_a_quality_model_have_none(tmp_path: Path) -> None:
    assert quality_beside(tmp_path / "model.pt") is None


OLD = '{"format": 1}'


@pytest.mark.parametrize(
    "text", ["", "{}", '{"format": 2, "quick": {"structures": {"lv": 1}}, "thorough": null}', "[1]", OLD]
)
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "quality.json").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"expected the quality model.*quality\.json.*fit it"):
        read_quality(tmp_path / "quality.json")
