import math
from typing import Any

import pytest

from pipelines.training.checks.rates import SHARES, TRIAL_STEPS, grid_points, judge, sizes_for


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


def test_the_edge_of_the_range_is_reported() -> None:
    assert "edge of the range" in judge([point(0.0001, 1.0)], 4.0, 8, 0.1).finding


def test_no_rate_at_all_leaves_none() -> None:
    verdict = judge([point(0.1, math.nan), point(0.01, 5.0)], 4.0, 8, 0.1)
    assert not verdict.passed
    assert verdict.details["learning_rate"] is None


def test_shares_make_up_the_time() -> None:
    assert sum(SHARES.values()) == pytest.approx(1)


def test_steps_fill_the_time_that_there_is() -> None:
    sizes = sizes_for(240, 1.0)
    steps = (
        sizes.overfit_steps / 3
        + 14 * sizes.sweep_steps
        + sizes.early_steps
        + sizes.rounds * sizes.round_steps
    )
    trials = sizes.trials * (sizes.trial_steps + 20)
    assert 0.6 * 240 * 60 < steps + trials < 1.05 * 240 * 60
    assert sizes.validation_volumes is None


def test_trials_are_long_enough_to_tell_settings_apart() -> None:
    sizes = sizes_for(90, 0.2)
    assert 10 <= sizes.trials <= 54
    assert 0.9 * TRIAL_STEPS <= sizes.trial_steps <= 1.2 * TRIAL_STEPS


def test_a_slow_machine_still_does_the_least_of_each_step() -> None:
    sizes = sizes_for(1, 30.0)
    assert (sizes.sweep_steps, sizes.trials, sizes.round_steps) == (8, 2, 40)


def test_the_whole_grid_has_each_combination_once_and_begins_in_the_middle() -> None:
    points = grid_points(0.01, 12, 1000)
    assert len(points) == 3 * 3 * 3 * 2
    assert len({tuple(point.values()) for point in points}) == 54
    assert points[0] == {"learning_rate": 0.01, "weight_decay": 1e-4, "momentum": 0.9, "batch_size": 12}
    assert {point["learning_rate"] for point in points} == {0.01, 0.00333, 0.03}
    assert {point["batch_size"] for point in points} == {12, 6}


def test_fewer_points_are_drawn_without_repetition_and_alike_each_time() -> None:
    points = grid_points(0.01, 12, 5)
    assert points == grid_points(0.01, 12, 5)
    assert len({tuple(point.values()) for point in points}) == 5
    assert points[0] == grid_points(0.01, 12, 1)[0]
