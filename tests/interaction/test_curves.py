from typing import Any

import pytest

from pipelines.interaction.curves import summarise_clicks


def row(case: str, mode: str, clicks: int | None, **dice: float | None) -> dict[str, Any]:
    values = {f"dice_{name}": dice.get(name) for name in ("rv", "myo", "lv", "mean")}
    return {
        "patient": case,
        "phase": "ED",
        "mode": mode,
        "slice": 0 if mode == "one_slice" else None,
        "clicks": clicks,
        **values,
        "seconds": 0.1 * clicks if clicks else 0.2 if mode == "scribbles" else None,
    }


ROWS = [
    row("a", "volume", 0, rv=0.8, myo=0.8, lv=0.90, mean=0.8),
    row("a", "volume", 1, rv=0.8, myo=0.9, lv=0.95, mean=0.9),
    row("a", "volume", 2, rv=0.8, myo=0.9, lv=0.95, mean=0.85),
    row("b", "volume", 0, myo=0.8, lv=0.8, mean=0.6),
    row("b", "volume", 1, myo=0.8, lv=0.8, mean=0.8),
    row("a", "one_slice", 0, mean=None),
    row("a", "scribbles", None, rv=0.9, lv=0.95, mean=0.9),
]


def test_curves_are_means_over_volumes_and_keep_the_last_mask_of_those_that_are_done() -> None:
    found = summarise_clicks(ROWS, clicks=2, slice_clicks=1)["volume"]
    assert found["cases"] == 2
    assert found["dice"]["mean"] == pytest.approx([0.7, 0.85, 0.825])
    assert found["dice"]["lv"] == pytest.approx([0.85, 0.875, 0.875])
    assert found["dice"]["rv"] == pytest.approx([0.8, 0.8, 0.8])


def test_a_click_that_lowers_the_mean_is_counted() -> None:
    found = summarise_clicks(ROWS, clicks=2, slice_clicks=1)["volume"]
    assert found["lowered"] == [0.0, 0.5]
    assert found["lowered_of_all_clicks"] == pytest.approx(1 / 3)


def test_clicks_to_a_goal_are_counted_over_all_volumes_that_have_the_structure() -> None:
    found = summarise_clicks(ROWS, clicks=2, slice_clicks=1)["volume"]["clicks_to"]
    assert found["lv"] == {"median": None, "reached": 0.5, "dice": 0.95}
    only = summarise_clicks([*ROWS[:3], *ROWS[5:]], clicks=2, slice_clicks=1)["volume"]["clicks_to"]
    assert only["lv"] == {"median": 1.0, "reached": 1.0, "dice": 0.95}
    assert only["myo"] == {"median": 1.0, "reached": 1.0, "dice": 0.9}


def test_times_are_those_of_clicks_and_absent_structures_give_none() -> None:
    found = summarise_clicks(ROWS, clicks=2, slice_clicks=1)
    assert found["volume"]["seconds"]["median"] == pytest.approx(0.1)
    assert found["one_slice"]["dice"]["mean"] == [None, None]
    assert found["one_slice"]["clicks_to"]["lv"] == {"median": None, "reached": None, "dice": 0.95}
    assert found["scribbles"] == {
        "dice": {"rv": 0.9, "myo": None, "lv": 0.95, "mean": 0.9},
        "seconds": 0.2,
    }
