"""Steps are as long as the time allows."""

import pytest

from pipelines.training.checks.plan import SHARES, TRIAL_STEPS, sizes_for


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
