import json
from pathlib import Path
from typing import Any

import pytest
from report_folders import page_of

from pipelines.core.errors import DataError
from pipelines.reporting.results.interaction import interaction_values


def content() -> dict[str, Any]:
    names = ("rv", "myo", "lv", "mean")
    rising = [0.91 + 0.004 * clicks for clicks in range(11)]
    goals = {
        name: {"median": 2.0, "reached": 0.75, "dice": dice} for name, dice in (("lv", 0.95), ("myo", 0.9))
    }
    volume = {
        "cases": 2,
        "dice": dict.fromkeys(names, rising),
        "lowered": [0.0] * 9 + [0.5],
        "lowered_of_all_clicks": 0.05,
        "clicks_to": goals,
        "seconds": {"median": 0.1, "p95": 0.7},
    }
    none = {"median": None, "reached": None, "dice": 0.95}
    one_slice = {
        **volume,
        "dice": dict.fromkeys(names, rising[:2]),
        "lowered": [0.1],
        "clicks_to": {"lv": {"median": None, "reached": 0.25, "dice": 0.95}, "myo": none},
    }
    return {
        "patients": ["anna"],
        "volumes": 2,
        "threads": 2,
        "open_seconds": 0.1,
        "automatic_network": "unet",
        "automatic_weights": "weights given for it",
        "section": "split test",
        "volume": volume,
        "one_slice": one_slice,
        "scribbles": {"dice": dict.fromkeys(names, 0.94), "seconds": 0.05},
    }


def test_figures_say_whether_they_are_as_good_as_asked() -> None:
    verdicts = {figure.words: figure.cells[1:] for figure in interaction_values(content())}
    assert verdicts["gain of mean Dice by 3 clicks"] == ["0.012", "at least 0.015", "no"]
    assert verdicts["mean Dice after 10 clicks"] == ["0.950", "at least 0.945", "yes"]
    assert verdicts["volumes that a click lowers, worst of the clicks"] == ["50.0 %", "at most 3.0 %", "no"]
    lowered = "one slice: slices that a click lowers, worst of the clicks"
    assert verdicts[lowered] == ["10.0 %", "at most 5.0 %", "no"]
    assert verdicts["a click, median"] == ["0.10 s", "at most 0.60 s", "yes"]
    assert verdicts["a click, 95th percentile"] == ["0.70 s", "at most 0.60 s", "no"]
    assert verdicts["LV Dice by strokes along the rims"] == ["0.940", "at least 0.930", "yes"]


def test_a_slice_by_itself_has_a_target_after_three_clicks() -> None:
    longer = content()
    longer["one_slice"]["dice"] = longer["volume"]["dice"]
    verdicts = {figure.words: figure.cells[1:] for figure in interaction_values(longer)}
    assert verdicts["one slice: mean Dice after 3 clicks"] == ["0.922", "at least 0.920", "yes"]


def test_a_short_benchmark_is_asked_only_what_it_measured() -> None:
    short = content()
    short["volume"]["dice"] = {name: values[:3] for name, values in short["volume"]["dice"].items()}
    words = [figure.words for figure in interaction_values(short)]
    assert not [word for word in words if "3 clicks" in word or "10 clicks" in word]


def test_page_has_tables_goals_and_the_plot(tmp_path: Path) -> None:
    (tmp_path / "interaction.json").write_text(json.dumps(content()), encoding="utf-8")
    text = page_of(tmp_path / "docs", tmp_path)
    assert "| 10 | 0.950 | 0.950 | 0.950 | 0.950 | 50.0 |" in text
    assert "- LV Dice 0.95: 75 % of the volumes reach it with 10 clicks at most, the median needs 2." in text
    assert "- LV Dice 0.95: 25 % of the slices reach it with 1 clicks at most, more than half do not." in text
    assert "`unet` with weights given for it" in text
    assert (tmp_path / "docs" / "page-clicks.png").stat().st_size > 1000


@pytest.mark.parametrize("text", ["no json", "{}", "[]"])
def test_a_damaged_or_foreign_file_is_an_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "interaction.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match="run .*again"):
        page_of(tmp_path / "docs", tmp_path)
