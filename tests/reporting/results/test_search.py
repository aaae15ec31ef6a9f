from pathlib import Path

import pytest
from report_folders import page_of

from pipelines.core.errors import DataError


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
