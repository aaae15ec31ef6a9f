"""How long each step of a recipe may be, from the time there is and the pace of the machine."""

from dataclasses import dataclass
from typing import Final

from pipelines.training.checks.rates import OPTIMIZERS, RATES

SHARES: Final = {"overfit": 0.1, "sweep": 0.25, "grid": 0.2, "early": 0.1, "long": 0.35}
"""Shares of the time; the long run has a third of it at least, whatever was found before."""

TRIAL_OVERHEAD_S: Final = 20.0
"""Time that a trial takes to start and to validate, about, s."""

TRIAL_STEPS: Final = 150
"""Steps of a trial, about: after 20, all networks for hearts had a Dice near 0.1, whatever their settings."""

ROUNDS: Final = 3
"""Rounds of the long run, at most."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Lengths of the steps; a step is one batch.

    Attributes:
        volumes: Volumes that the short trainings learn from.
        unseen_volumes: Validation volumes of the short evaluations.
        validation_volumes: Validation volumes of the long run, None for all.
        overfit_steps: Most steps to learn a handful by heart.
        sweep_steps: Steps of each point of the sweep.
        trials: Points of the grid.
        trial_steps: Steps of each.
        early_steps: Steps before the early evaluation.
        round_steps: Steps of a round of the long run.
        rounds: Most rounds.
    """

    volumes: int
    unseen_volumes: int
    validation_volumes: int | None
    overfit_steps: int
    sweep_steps: int
    trials: int
    trial_steps: int
    early_steps: int
    round_steps: int
    rounds: int


SMOKE: Final = Sizes(
    volumes=3,
    unseen_volumes=1,
    validation_volumes=1,
    overfit_steps=6,
    sweep_steps=2,
    trials=1,
    trial_steps=2,
    early_steps=2,
    round_steps=2,
    rounds=1,
)
"""Seconds, to see that everything runs; what the steps find then means nothing."""


def sizes_for(minutes: float, seconds_per_step: float) -> Sizes:
    """Lengths that take about so many minutes in all, reading the data apart.

    Args:
        minutes: Time for the recipe.
        seconds_per_step: Time of a training step at the configured batch size.
    """
    seconds = {name: 60 * minutes * share for name, share in SHARES.items()}
    trials = _within(seconds["grid"] / (TRIAL_OVERHEAD_S + TRIAL_STEPS * seconds_per_step), 2, 54)
    return Sizes(
        volumes=_within(minutes, 8, 40),
        unseen_volumes=_within(minutes / 5, 3, 8),
        validation_volumes=None if minutes >= 60 else 8,
        # A handful is a third of the usual batch.
        overfit_steps=_within(3 * seconds["overfit"] / seconds_per_step, 150, 600),
        sweep_steps=_within(seconds["sweep"] / seconds_per_step / len(RATES) / len(OPTIMIZERS), 8, 100),
        trials=trials,
        trial_steps=_within((seconds["grid"] / trials - TRIAL_OVERHEAD_S) / seconds_per_step, 16, 2000),
        early_steps=_within(seconds["early"] / seconds_per_step, 30, 500),
        round_steps=_within(seconds["long"] / seconds_per_step / ROUNDS, 40, 100_000),
        rounds=ROUNDS,
    )


def _within(value: float, least: int, most: int) -> int:
    return max(least, min(most, round(value)))
