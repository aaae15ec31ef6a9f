import json
from pathlib import Path
from typing import Any

import pytest
from report_folders import page_of

from pipelines.core.errors import DataError
from pipelines.reporting.results.active_learning import compare, curve_area, verdict


def curve(seed: int, strategy: str, dice: list[float]) -> dict[str, Any]:
    names = [f"patient{number}" for number in range(4 * len(dice))]
    rounds = [
        {
            "labelled": names[: 4 * (index + 1)],
            "added": names[4 * index : 4 * (index + 1)],
            "dice": dict.fromkeys(("rv", "myo", "lv", "mean"), value),
        }
        for index, value in enumerate(dice)
    ]
    hold_out = dict.fromkeys(("rv", "myo", "lv", "mean"), dice[-1])
    return {"seed": seed, "strategy": strategy, "rounds": rounds, "hold_out": hold_out}


def content(*gains: float) -> dict[str, Any]:
    """Curves of seeds whose uncertainty is better than random by so much in the last round."""
    curves = []
    for seed, gain in enumerate(gains):
        curves.append(curve(seed, "random", [0.5, 0.6, 0.7]))
        curves.append(curve(seed, "uncertainty", [0.5, 0.6, 0.7 + gain]))
    plan = {"fold": 0, "start": 4, "add": 4, "most": 12, "seeds": 3, "first_steps": 500, "steps": 150}
    network = {"name": "unet", "spacing_mm": 3.0}
    patients = {"pool": ["a"] * 51, "validation": ["b"] * 13, "hold_out": ["c"] * 16}
    return {"plan": plan, "network": network, **patients, "curves": curves}


def test_the_area_is_the_mean_dice_over_the_span_of_patients() -> None:
    assert curve_area(curve(0, "random", [0.5, 0.6, 0.7])) == pytest.approx(0.6)
    assert curve_area(curve(0, "random", [0.5, 0.7, 0.7])) == pytest.approx(0.65)


def test_strategies_are_compared_pair_by_pair() -> None:
    found = compare(content(0.02, 0.04, 0.06))
    assert found["last round"].differences == pytest.approx((0.02, 0.04, 0.06))
    assert found["last round"].mean == pytest.approx(0.04)
    # Standard deviation 0.02 of three, and 4.303 is the t quantile of two degrees of freedom.
    assert found["last round"].half_width == pytest.approx(4.303 * 0.02 / 3**0.5, abs=1e-4)
    assert found["area under the curve"].mean == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("gains", "words"),
    [
        ((0.04, 0.05, 0.06), "Choosing by uncertainty was better than choosing at random"),
        ((-0.04, -0.05, -0.06), "Choosing by uncertainty was worse than choosing at random"),
        ((0.04, -0.05, 0.06), "No advantage of either strategy was shown"),
        ((0.0, 0.0, 0.0), "No advantage of either strategy was shown"),
        ((0.5,), "With one seed nothing can be said"),
    ],
)
def test_the_verdict_follows_from_the_figures(gains: tuple[float, ...], words: str) -> None:
    assert verdict(content(*gains)).startswith(words)


def test_the_page_holds_verdict_curves_and_seeds(tmp_path: Path) -> None:
    (tmp_path / "active_learning.json").write_text(json.dumps(content(0.04, -0.05, 0.06)), encoding="utf-8")
    text = page_of(tmp_path / "docs", tmp_path)
    assert "in favour of uncertainty with 2 of 3 seeds" in text
    assert "| 4 | 0.500 | 0.500 |  |" in text
    assert "| 12 | 0.700 | 0.717 |" in text
    assert "| 0.700 | 0.650 | 0.700 | 0.650 |" in text
    assert (tmp_path / "docs" / "page-learning.png").stat().st_size > 1000


def test_what_is_no_benchmark_is_refused(tmp_path: Path) -> None:
    (tmp_path / "active_learning.json").write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match="of 'thorax benchmark active-learning'.*run it again"):
        page_of(tmp_path / "docs", tmp_path)
