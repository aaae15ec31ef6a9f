import json
from pathlib import Path

import pytest

from pipelines.core.errors import ConfigError
from pipelines.quality.model import (
    LinearModel,
    QualityModel,
    QualityModels,
    quality_beside,
    read_quality,
    to_log_odds,
    write_quality,
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
    with pytest.raises(ConfigError, match=r"expected the quality model.*quality\.json.*fit it again"):
        read_quality(tmp_path / "quality.json")
