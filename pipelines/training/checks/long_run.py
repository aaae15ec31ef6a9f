"""The long run, in rounds: where the loss stops falling, the rate is sought again from the best weights."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pipelines.training.checks.case import Case
from pipelines.training.checks.full_training import train_or_resume
from pipelines.training.checks.plan import Sizes
from pipelines.training.checks.rates import sweep
from pipelines.training.checks.record import Record, Verdict

EPOCHS: Final = 6
"""Epochs of a round, each a sixth of its steps; every second is validated."""

STALLED: Final = 0.02
"""A loss that falls by less than this from the middle third of a round to its last has stopped falling."""

LEAST_GAIN: Final = 0.002
"""Gain in Dice over the best of the rounds before, below which no further round is begun."""


def run_long(
    case: Case, record: Record, sizes: Sizes, settings: Mapping[str, Any], baseline: float
) -> Verdict:
    """Train in rounds, each from the best weights of the one before.

    Args:
        case: What is to be trained.
        record: Keeps each round.
        sizes: Steps of a round, and the most rounds.
        settings: Optimiser, rates and batch size of the first round.
        baseline: Dice of the early evaluation, which the run must exceed.

    Returns:
        Verdict; its details have `rounds`, `weights` and the last `settings`.
    """
    rounds: list[dict[str, Any]] = []
    current, weights, best = dict(settings), None, float("-inf")
    reason = f"the most that the time allows is {sizes.rounds}"
    for number in range(1, sizes.rounds + 1):
        entry, found = _round(case, sizes, number, current, weights)
        rounds.append(entry)
        if entry["dice"] > best:
            weights = found
        gain, best = entry["dice"] - best, max(best, entry["dice"])
        if number > 1 and gain < LEAST_GAIN:
            reason = f"stopped early: round {number} gained {gain:+.4f} Dice, less than {LEAST_GAIN}"
            break
        if entry["stalled"] and number < sizes.rounds:
            again = sweep(
                case,
                record,
                sizes.volumes,
                sizes.sweep_steps,
                optimizers=[current["optimizer"]],
                initial_weights=str(weights),
                least_fall=0.0,
            )
            entry["sweep"] = dict(again.details)
            if again.details["learning_rate"] is None:
                reason = "stopped early: no rate lowers the loss any further"
                break
            current["learning_rate"] = again.details["learning_rate"]
    return _verdict(rounds, best, baseline, reason, weights, current, case)


def _round(
    case: Case, sizes: Sizes, number: int, settings: Mapping[str, Any], weights: Path | None
) -> tuple[dict[str, Any], Path]:
    more = {"initial_weights": str(weights)} if weights is not None else {}
    epochs = min(EPOCHS, sizes.round_steps)
    rows, best = train_or_resume(
        case,
        f"round{number}",
        {
            **settings,
            **more,
            "steps": sizes.round_steps // epochs,
            "max_epochs": epochs,
            "val_interval": min(2, epochs),
            "validate::dataset::data": case.spread("validation", sizes.validation_volumes),
        },
    )
    losses = [float(row["train_loss"]) for row in rows]
    scores = [float(row["val_mean_dice"]) for row in rows if row.get("val_mean_dice")]
    return {
        "round": number,
        "settings": dict(settings),
        "losses": losses,
        "dice": max(scores),
        "stalled": stops_falling(losses),
        "folder": best.parent.name,
    }, best


def stops_falling(losses: Sequence[float]) -> bool:
    """Whether the last third of the losses is hardly below the third before it."""
    third = len(losses) // 3
    if third == 0:
        return False
    before, last = sum(losses[-2 * third : -third]), sum(losses[-third:])
    return last > (1 - STALLED) * before


def _verdict(
    rounds: list[dict[str, Any]],
    best: float,
    baseline: float,
    reason: str,
    weights: Path | None,
    current: Mapping[str, Any],
    case: Case,
) -> Verdict:
    sought = sum("sweep" in entry for entry in rounds)
    finding = f"rounds done: {len(rounds)}; {reason}"
    finding += (
        f"; the rate was sought again {sought} times, where the loss had stopped falling" if sought else ""
    )
    if best <= baseline:
        finding += "; it is no better than the early evaluation: look at the rates, or give more time"
    details = {
        "rounds": rounds,
        "weights": None if weights is None else str(weights.relative_to(case.output)),
        "settings": dict(current),
    }
    return Verdict(
        best > baseline,
        best,
        "largest mean Dice on validation volumes",
        f"above {baseline:.3f}, that of the early evaluation",
        finding,
        details,
    )
