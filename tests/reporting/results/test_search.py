from pathlib import Path

import pytest
from report_folders import page_of

from pipelines.core.errors import DataError


def test_the_best_trials_are_listed(tmp_path: Path) -> None:
    lines = ["trial,epochs,auroc,learning_rate", *(f"t{index},5,0.98765,0.00123456" for index in range(12))]
    (tmp_path / "trials.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    text = page_of(tmp_path / "docs", tmp_path)
    assert "The 10 best of 12 trials" in text
    assert "| t0 | 5 | 0.9877 | 0.001235 |" in text
    assert "t10" not in text


def test_a_search_without_a_trial_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "trials.csv").write_text("trial,auroc\n", encoding="utf-8")
    with pytest.raises(DataError, match="expected a search of 'thorax tune'"):
        page_of(tmp_path / "docs", tmp_path)
