"""Which learning rate lowers the loss most in a few steps?"""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from pipelines.training.checks.case import Case, losses_without_learning, train_steps
from pipelines.training.checks.record import Record, Verdict

RATES: Final = (0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001)
OPTIMIZERS: Final = ("sgd", "adamw")
"""SGD with Nesterov momentum 0.9, and AdamW."""

LEAST_FALL: Final = 0.1
"""Share of the loss at the start that the best rate must take off in a sweep from random weights."""


def sweep(
    case: Case,
    record: Record,
    volumes: int,
    steps: int,
    *,
    optimizers: Sequence[str] = OPTIMIZERS,
    initial_weights: str | None = None,
    least_fall: float = LEAST_FALL,
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
