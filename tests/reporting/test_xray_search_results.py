import json
from pathlib import Path

import pytest

from pipelines.core.errors import DataError
from pipelines.evaluation.compare_xray import PairedScore
from pipelines.reporting.xray_search_results import verdict, write_xray_search
from tests.reporting.test_xray_results import write_run
from tests.reporting.test_xray_sections import evaluation


def search_in(folder: Path) -> Path:
    folder.mkdir()
    (folder / "trials.csv").write_text("trial,auroc\na,0.9\n")
    return folder


def told(folder: Path, *words: str) -> Path:
    (folder / "manifest.json").write_text(json.dumps({"command": ["thorax", *words]}))
    return folder


def score(name: str, low: float, high: float) -> PairedScore:
    return PairedScore(name, [0.9], [0.9 + (low + high) / 2], (low + high) / 2, [low, high], 0.5)


def test_the_page_has_trials_both_recipes_and_a_verdict_for_each_score(tmp_path: Path) -> None:
    search = told(search_in(tmp_path / "search"), "tune", "resnet18", "--dataset-dir", "/here/prep")
    base = [told(evaluation(tmp_path / f"base{seed}", 8), "evaluate-xray", "/here/prep") for seed in range(2)]
    best = [told(evaluation(tmp_path / f"best{seed}", 0), "evaluate-xray", "/here/prep") for seed in range(2)]
    page = write_xray_search(search, [write_run(tmp_path / "run")], base, best, tmp_path / "docs")
    text = page.read_text(encoding="utf-8")
    assert "The 1 best of 1 trials" in text
    assert "| accuracy | 0.6000, 0.6000 | 1.0000, 1.0000 | +0.4000 (" in text
    assert "The best of the search **beats** the base in accuracy." in text
    assert "| run | resnet18 | 2 | 1,920 |" in text
    assert "thorax tune resnet18 --dataset-dir /path/to/prepared" in text
    assert "/here" not in text


@pytest.mark.parametrize(
    ("low", "high", "sentence"),
    [
        (0.001, 0.01, "The best of the search **beats** the base in AUROC."),
        (
            -0.001,
            0.01,
            "In AUROC the best of the search is ahead on average, but **does not beat** the base ",
        ),
        (
            -0.01,
            0.001,
            "In AUROC the best of the search is behind on average, but **does not beat** the base ",
        ),
        (-0.02, -0.001, "The base beats the best of the search in AUROC."),
    ],
)
def test_the_verdict_follows_from_the_interval(low: float, high: float, sentence: str) -> None:
    assert sentence in verdict([score("accuracy", -0.1, 0.1), score("auroc", low, high)])


def test_a_folder_that_no_command_made_is_told(tmp_path: Path) -> None:
    folders = [told(evaluation(tmp_path / name, 1), "evaluate-xray") for name in ("base", "best")]
    run = write_run(tmp_path / "run")
    with pytest.raises(DataError, match="expected the manifest of a command in"):
        write_xray_search(search_in(tmp_path / "search"), [run], folders[:1], folders[1:], tmp_path)
    with pytest.raises(DataError, match="expected a search of 'thorax tune'"):
        write_xray_search(tmp_path, [run], folders[:1], folders[1:], tmp_path)
