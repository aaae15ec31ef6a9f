"""The sweep takes the rate that lowers the loss most and names those that make it rise."""

import math
from typing import Any

from pipelines.training.checks.rates import judge


def point(rate: float, loss: float | None, steps: int = 8) -> dict[str, Any]:
    return {"optimizer": "sgd", "learning_rate": rate, "loss": loss, "steps": steps}


def test_the_lowest_loss_wins_and_rising_ones_are_too_high() -> None:
    points = [
        point(0.1, None, 3),
        point(0.03, 4.5),
        point(0.01, math.inf),
        point(0.003, 2.0),
        point(0.001, 3.0),
    ]
    verdict = judge(points, 4.0, 8, 0.1)
    assert verdict.passed
    assert (verdict.figure, verdict.details["learning_rate"]) == (2.0, 0.003)
    assert [entry["diverged"] for entry in verdict.details["points"]] == [True, True, True, False, False]
    assert "the loss rose with sgd 0.1, sgd 0.03, sgd 0.01: too high" in verdict.finding


def test_a_loss_that_hardly_falls_fails() -> None:
    verdict = judge([point(0.01, 3.7), point(0.003, 3.8)], 4.0, 8, 0.1)
    assert not verdict.passed
    assert "no rate lowers it much" in verdict.finding


def test_the_edge_of_the_range_is_told() -> None:
    assert "edge of the range" in judge([point(0.0001, 1.0)], 4.0, 8, 0.1).finding


def test_no_rate_at_all_leaves_none() -> None:
    verdict = judge([point(0.1, math.nan), point(0.01, 5.0)], 4.0, 8, 0.1)
    assert not verdict.passed
    assert verdict.details["learning_rate"] is None
