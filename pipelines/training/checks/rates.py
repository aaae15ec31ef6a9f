"""Learning rates: a sweep, the length of each step that follows, and a grid around the best."""

import hashlib
import itertools
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from pipelines.training.checks.case import Case, Record, Verdict, losses_without_learning, train_steps
from pipelines.training.search import STATE_NAME, SearchOptions, search

RATES: Final = (0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001)
OPTIMIZERS: Final = ("sgd", "adamw")
"""SGD with Nesterov momentum 0.9, and AdamW."""

MIN_FALL: Final = 0.1
"""Share of the loss at the start that the best rate must take off in a sweep from random weights."""


def sweep(
    case: Case,
    record: Record,
    volumes: int,
    steps: int,
    *,
    optimizers: Sequence[str] = OPTIMIZERS,
    initial_weights: str | None = None,
    least_fall: float = MIN_FALL,
) -> Verdict:
    """Train a few steps with each rate and optimiser from the same weights, on the same slices.

    Args:
        case: What is to be trained.
        record: Keeps each point, so that an interrupted sweep goes on.
        volumes: Volumes of the training section that are trained on.
        steps: Iterations of each point.
        optimizers: Names of optimisers.
        initial_weights: Weights to start from instead of random ones.
        least_fall: Share of the loss at the start that the best must take off to pass.

    Returns:
        Verdict; its details have `points`, `optimizer` and `learning_rate`, both None if all diverged.
    """
    more = {} if initial_weights is None else {"initial_weights": initial_weights}
    base: dict[str, Any] = {**more, "momentum": 0.9}
    key = json.dumps(["sweep", dict(case.settings), base, volumes, steps])

    def point(optimizer: str, rate: float) -> dict[str, Any]:
        parser = case.parser("training", volumes, **base, optimizer=optimizer, learning_rate=rate)
        course = train_steps(parser, steps)
        return {
            "optimizer": optimizer,
            "learning_rate": rate,
            "loss": course.end,
            "steps": len(course.losses),
        }

    start = record.part(
        f"start {key}", lambda: losses_without_learning(case.parser("training", volumes, **base))[0]
    )
    points = [
        record.part(f"{optimizer} {rate} {key}", partial(point, optimizer, rate))
        for optimizer in optimizers
        for rate in RATES
    ]
    return judge(points, start, steps, least_fall)


def judge(points: Sequence[Mapping[str, Any]], start: float, steps: int, least_fall: float) -> Verdict:
    """What a sweep showed.

    Args:
        points: Each with `optimizer`, `learning_rate`, `loss` (mean of the last quarter of its steps; None
            or infinite if training broke down) and `steps`.
        start: Loss before any step.
        steps: Iterations that were asked for.
        least_fall: Share of `start` that the best must take off.
    """
    entries = [
        {**point, "diverged": point["loss"] is None or not point["loss"] <= start or point["steps"] < steps}
        for point in points
    ]
    sound = [entry for entry in entries if not entry["diverged"]]
    best = min(sound, key=lambda entry: float(entry["loss"])) if sound else None
    details = {
        "start": start,
        "points": entries,
        "optimizer": best and best["optimizer"],
        "learning_rate": best and best["learning_rate"],
    }
    expectation = (
        f"at most {(1 - least_fall) * start:.3f}, {1 - least_fall:.0%} of the loss before ({start:.3f})"
    )
    measures = f"lowest loss after {steps} steps"
    if best is None:
        text = "the loss rose with every rate: look at the steps before, or at the weights it starts from"
        return Verdict(False, None, measures, expectation, text, details)
    worse = [f"{entry['optimizer']} {entry['learning_rate']:g}" for entry in entries if entry["diverged"]]
    finding = f"{best['optimizer']} with {best['learning_rate']:g} lowers the loss most"
    if best["learning_rate"] in (RATES[0], RATES[-1]):
        finding += ", at the edge of the range: the best rate may lie beyond"
    finding += f"; the loss rose with {', '.join(worse)}: too high" if worse else "; none made it rise"
    passed = float(best["loss"]) <= (1 - least_fall) * start
    if not passed:
        finding += "; no rate lowers it much in so few steps: give more time, or look at the steps before"
    return Verdict(passed, float(best["loss"]), measures, expectation, finding, details)


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


RATE_FACTORS: Final = (1.0, 1 / 3, 3.0)
WEIGHT_DECAYS: Final = (1e-4, 1e-5, 1e-2)
MOMENTA: Final = (0.9, 0.8, 0.95)
BATCH_FACTORS: Final = (1.0, 0.5)

SETTINGS: Final = ("learning_rate", "weight_decay", "momentum", "batch_size")


def grid_points(learning_rate: float, batch_size: int, count: int) -> list[dict[str, Any]]:
    """Points of the grid around a rate; the middle one is always the first.

    Args:
        learning_rate: Middle of the rates.
        batch_size: Largest number of slices in a batch.
        count: Points at most; fewer than the whole grid are drawn from it without repetition.
    """
    sizes = dict.fromkeys(max(1, round(batch_size * factor)) for factor in BATCH_FACTORS)
    rates = [float(f"{learning_rate * factor:.3g}") for factor in RATE_FACTORS]
    grid = itertools.product(rates, WEIGHT_DECAYS, MOMENTA, sizes)
    middle, *others = [dict(zip(SETTINGS, point, strict=True)) for point in grid]
    if count <= len(others):
        others = random.Random(0).sample(others, count - 1)
    return [middle, *others]


def search_grid(
    case: Case,
    sizes: Sizes,
    start: Mapping[str, Any],
    *,
    address: str | None = None,
    concurrency: int = 0,
) -> Verdict:
    """Train each point of the grid with Ray Tune and take the one with the best Dice on validation.

    Stopped early are those that are not among the best third at half their steps. An interrupted
    search goes on from its last epochs.

    Args:
        case: What is to be trained.
        sizes: Trials, and how long each is.
        start: `optimizer`, `learning_rate` and `batch_size` in the middle of the grid.
        address: Existing Ray cluster, or None for this machine.
        concurrency: Trials at a time on this machine, 0 for one a core.

    Returns:
        Verdict; its details have `trials` and the `best` settings.
    """
    points = grid_points(start["learning_rate"], start["batch_size"], sizes.trials)
    shared = {
        **case.shared(),
        "optimizer": start["optimizer"],
        "steps": sizes.trial_steps // 2,
        "val_interval": 1,
        "train::dataset::data": case.spread("training", sizes.volumes),
        "validate::dataset::data": case.spread("validation", sizes.unseen_volumes),
    }
    options = SearchOptions(
        epochs=2,
        grace=1,
        concurrency=concurrency,
        address=address,
        settings=shared,
        overlays=("steps",),
        points=points,
    )
    # Another grid is another search: its folder has its own name.
    name = hashlib.sha256(json.dumps([points, shared]).encode()).hexdigest()[:8]
    folder = case.output / f"grid-{name}"
    resume = (folder / STATE_NAME / case.network).is_dir()
    trials = search(case.network, case.dataset_dir, folder, {}, options, resume=resume)
    best, worst = trials[0], trials[-1]
    rows = [{**trial.settings, **trial.scores, "epochs": trial.epochs} for trial in trials]
    middle = next((row for row in rows if all(row[name] == points[0][name] for name in SETTINGS)), None)
    failed = len(points) - len(trials)
    words = ", ".join(f"{name} {best.settings[name]:g}" for name in SETTINGS)
    finding = f"{words} is best with Dice {best.score:.3f}, the worst reached {worst.score:.3f}"
    if middle is not None:
        finding += f", the middle of the grid {middle['mean_dice']:.3f}"
    whole = len(grid_points(start["learning_rate"], start["batch_size"], 10**6))
    if len(points) < whole:
        finding += f"; {len(points)} of the {whole} points of the grid tried, as the time allows"
    finding += f"; {failed} trials failed" if failed else ""
    return Verdict(
        best.score > 0,
        best.score,
        f"largest mean Dice on {sizes.unseen_volumes} unseen volumes after at most {sizes.trial_steps} steps",
        "above 0: something is found; the largest is taken",
        finding,
        {"trials": rows, "best": {**best.settings, "optimizer": start["optimizer"]}, "failed": failed},
    )
