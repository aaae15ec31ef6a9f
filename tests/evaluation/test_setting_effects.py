"""Effects of settings against SciPy and means by hand, and where the settings come from."""

import json
from pathlib import Path

import pytest
from scipy.stats import kruskal, spearmanr

from pipelines.core.errors import DataError
from pipelines.evaluation.setting_effects import setting_effects
from pipelines.training.search import command_settings, read_scored_settings

TRIALS = [
    ({"rate": 0.1, "optimizer": "sgd", "epochs": 3}, 0.5),
    ({"rate": 0.01, "optimizer": "adamw", "epochs": 3}, 0.7),
    ({"rate": 0.001, "optimizer": "adamw", "epochs": 3}, 0.8),
    ({"rate": 0.0001, "optimizer": "sgd", "epochs": 3}, 0.9),
    ({"rate": 0.02, "optimizer": "sgd", "epochs": 3}, 0.6),
]


def test_a_number_is_correlated_by_rank_and_names_by_their_means() -> None:
    rate, optimizer = setting_effects(TRIALS)
    assert (rate.setting, rate.trials) == ("rate", 5)
    assert rate.correlation == pytest.approx(-1)
    expected = spearmanr([0.1, 0.01, 0.001, 0.0001, 0.02], [0.5, 0.7, 0.8, 0.9, 0.6]).pvalue
    assert rate.p_value == pytest.approx(expected, abs=1e-12)
    assert optimizer.correlation is None
    assert optimizer.p_value == pytest.approx(kruskal([0.7, 0.8], [0.5, 0.9, 0.6]).pvalue)
    assert optimizer.p_holm == optimizer.p_value
    assert [(part["value"], part["trials"]) for part in optimizer.means] == [("adamw", 2), ("sgd", 3)]
    assert [part["mean"] for part in optimizer.means] == pytest.approx([0.75, 2 / 3])


def test_what_does_not_vary_has_no_effect_and_three_trials_no_p_value() -> None:
    assert "epochs" not in [effect.setting for effect in setting_effects(TRIALS)]
    (rate, _) = setting_effects(TRIALS[:3])
    assert (rate.trials, rate.p_value, rate.p_holm) == (3, None, None)


def test_many_numbers_are_put_into_thirds() -> None:
    (effect,) = setting_effects([({"rate": float(value)}, float(value)) for value in range(9)])
    assert [(part["value"], part["trials"], part["mean"]) for part in effect.means] == [
        ("0 to 2", 3, 1.0),
        ("3 to 5", 3, 4.0),
        ("6 to 8", 3, 7.0),
    ]


def test_settings_come_from_both_kinds_of_commands_without_places() -> None:
    own = ["thorax", "train", "unet", "--dataset-dir", "/a", "--set", "batch_size=4", "--set", "decay=poly"]
    assert command_settings(own) == {"batch_size": 4, "decay": "poly"}
    monai = ["__main__.py", "run", "training", "--output_dir", "/a", "--learning_rate", "1.0e-3", "--fold=2"]
    assert command_settings(monai) == {"learning_rate": 0.001}


def test_runs_are_scored_by_their_best_validation(tmp_path: Path) -> None:
    for number, rate in enumerate((0.1, 0.2)):
        run = tmp_path / f"run{number}"
        run.mkdir()
        rows = f"epoch,iteration,val_mean_dice\n1,5,0.{number + 3}\n2,10,\n3,15,0.{number + 1}\n"
        (run / "history.csv").write_text(rows, encoding="utf-8")
        words = ["thorax", "train", "unet", "--set", f"learning_rate={rate}"]
        (run / "manifest.json").write_text(json.dumps({"command": words}), encoding="utf-8")
    assert read_scored_settings(tmp_path) == [({"learning_rate": 0.1}, 0.3), ({"learning_rate": 0.2}, 0.4)]


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found 0 with a score"):
        read_scored_settings(tmp_path)
