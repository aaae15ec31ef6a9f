"""A grid around the best rate of the sweep: rate, weight decay, momentum and batch size."""

import hashlib
import itertools
import json
import random
from collections.abc import Mapping
from typing import Any, Final

from pipelines.training.checks.case import Case
from pipelines.training.checks.plan import Sizes
from pipelines.training.checks.record import Verdict
from pipelines.training.search import STATE_NAME, SearchOptions, search

RATE_FACTORS: Final = (1.0, 1 / 3, 3.0)
WEIGHT_DECAYS: Final = (1e-4, 1e-5, 1e-2)
MOMENTA: Final = (0.9, 0.8, 0.95)
BATCH_FACTORS: Final = (1.0, 0.5)

SETTINGS: Final = ("learning_rate", "weight_decay", "momentum", "batch_size")


def grid_points(learning_rate: float, batch_size: int, count: int, *, seed: int = 0) -> list[dict[str, Any]]:
    """Points of the grid around a rate; the middle one is always the first.

    Args:
        learning_rate: Middle of the rates.
        batch_size: Largest number of slices in a batch.
        count: Points at most; fewer than the whole grid are drawn from it without repetition.
        seed: Seed of the draw.
    """
    sizes = dict.fromkeys(max(1, round(batch_size * factor)) for factor in BATCH_FACTORS)
    rates = [float(f"{learning_rate * factor:.3g}") for factor in RATE_FACTORS]
    grid = itertools.product(rates, WEIGHT_DECAYS, MOMENTA, sizes)
    middle, *others = [dict(zip(SETTINGS, point, strict=True)) for point in grid]
    if count <= len(others):
        others = random.Random(seed).sample(others, count - 1)
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
    finding = (
        f"{_words(best.settings)} is best with Dice {best.score:.3f}, the worst reached {worst.score:.3f}"
    )
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


def _words(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {settings[name]:g}" for name in SETTINGS)
