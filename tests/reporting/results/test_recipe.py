import json
from pathlib import Path
from typing import Any

import pytest
from report_folders import page_of

from pipelines.core.errors import DataError


def step(title: str, *, passed: bool, **details: Any) -> dict[str, Any]:
    words = {"measures": "lowest loss", "expectation": "at most 3", "finding": "too high a rate"}
    return {"title": title, "passed": passed, "figure": 2.5, "seconds": 130.0, "details": details, **words}


def content() -> dict[str, Any]:
    points = [
        {"optimizer": "sgd", "learning_rate": 0.1, "loss": None, "diverged": True},
        {"optimizer": "sgd", "learning_rate": 0.01, "loss": 4.5, "diverged": True},
        {"optimizer": "adamw", "learning_rate": 0.1, "loss": 2.5, "diverged": False},
        {"optimizer": "adamw", "learning_rate": 0.01, "loss": 3.0, "diverged": False},
    ]
    steps = {"data": step("The data", passed=True), "sweep": step("Sweep", passed=False, points=points)}
    head = {"network": "vnet", "minutes": 30.0, "smoke": False, "fold": 2, "settings": {"batch_size": 4}}
    return head | {"finished": False, "steps": steps}


def test_page_has_verdicts_findings_and_the_sweep(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text(json.dumps(content()), encoding="utf-8")
    text = page_of(tmp_path / "docs", tmp_path)
    assert "| 1 | Sweep | fail | 2.500 | 2 min | at most 3 | too high a rate |" in text
    assert "Network vnet, validation on fold 2, time limit: 30 minutes." in text
    assert "It ended before the last step; failed: Sweep." in text
    assert "batch_size 4" in text
    assert "Too high a rate." in text
    assert "| 0.1 | broke down | 2.500 |" in text
    assert "| 0.01 | 4.500 (rose) | 3.000 |" in text


@pytest.mark.parametrize("text", ["no json", "{}"])
def test_a_damaged_or_foreign_file_is_an_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"expected .*recipe\.json"):
        page_of(tmp_path / "docs", tmp_path)


@pytest.mark.parametrize(("score", "words"), [("auroc", "AUROC"), ("mean_dice", "mean Dice")])
def test_the_best_trials_are_listed(tmp_path: Path, score: str, words: str) -> None:
    rows = [f"t{index},5,0.98765,0.00123456" for index in range(12)]
    lines = [f"trial,epochs,{score},learning_rate", *rows]
    (tmp_path / "trials.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    text = page_of(tmp_path / "docs", tmp_path)
    assert f"The 10 best of 12 trials, by {words} on validation" in text
    assert "| t0 | 5 | 0.9877 | 0.001235 |" in text
    assert "t10" not in text


def test_a_search_without_a_trial_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "trials.csv").write_text("trial,auroc\n", encoding="utf-8")
    with pytest.raises(DataError, match="expected a search of 'thorax tune'"):
        page_of(tmp_path / "docs", tmp_path)
