"""A short training with its Dice, and then the long run, in rounds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from pipelines.core.labels import FOREGROUND
from pipelines.training.checks.case import Case, Record, Verdict, losses_without_learning, train_or_resume
from pipelines.training.checks.rates import Sizes, sweep

LEVELS: Final = tuple(np.linspace(0.05, 0.95, 19).tolist())
"""Shares of training slices above which a pixel is taken for a structure, of which the best is taken."""


def check_early(case: Case, sizes: Sizes, settings: Mapping[str, Any]) -> Verdict:
    """Train shortly and see whether the network does better than one that ignores its input.

    The threshold is the Dice on the unseen slices of the best mask that is the same for every image,
    fitted to labels of the training section: a network below it has learnt less than where hearts
    usually lie, and more of the same training is wasted.

    Args:
        case: What is to be trained.
        sizes: Steps and volumes.
        settings: Optimiser, rates and batch size that the grid found best.

    Returns:
        Verdict; its details have the Dice of the mask and the losses.
    """
    known = _labels(case, "training", sizes.volumes)
    unseen = _labels(case, "validation", sizes.unseen_volumes)
    threshold = constant_mask_dice(known, unseen)
    data = case.parser("training", sizes.volumes)
    chance = losses_without_learning(data)[1]
    rows, _ = train_or_resume(
        case,
        "early",
        {
            **settings,
            "steps": sizes.early_steps,
            "max_epochs": 1,
            "val_interval": 1,
            "train::dataset::data": case.spread("training", sizes.volumes),
            "validate::dataset::data": case.spread("validation", sizes.unseen_volumes),
        },
    )
    dice, loss = float(rows[-1]["val_mean_dice"]), float(rows[-1]["train_loss"])
    fell = loss < 0.8 * chance
    if dice > threshold:
        finding = "what it learns carries over to unseen volumes: the long run is worth its time"
    elif fell:
        finding = (
            f"the loss fell to {loss:.3f} (chance {chance:.3f}), but nothing carries over to unseen volumes: "
            "see that images and labels belong together and that both sections are prepared alike, or give "
            "more time"
        )
    else:
        finding = (
            f"the loss hardly fell ({loss:.3f}, chance {chance:.3f}): the rate is too high or too low, or "
            "there is nothing to learn; see the steps before, or give more time"
        )
    return Verdict(
        dice > threshold,
        dice,
        f"mean Dice on {sizes.unseen_volumes} unseen volumes after {sizes.early_steps} steps",
        f"above {threshold:.3f}, the Dice of the best mask that is the same for every image",
        finding,
        {"threshold": threshold, "train_loss": loss, "chance": chance},
    )


def constant_mask_dice(known: Tensor, unseen: Tensor) -> float:
    """Mean Dice over structures of masks that are the same for every image.

    For each structure the mask is where it lies in at least a share of the known slices; the share is
    the one with the best Dice on them.

    Args:
        known: `(N, H, W)` label maps that the masks are fitted to.
        unseen: `(M, H, W)` label maps that they are measured on.

    Returns:
        0 to 1; a structure that is nowhere in `unseen` is left out.
    """
    scores = []
    for label in FOREGROUND:
        share = (known == label).float().mean(dim=0)
        masks = [share >= level for level in LEVELS]
        best = max(masks, key=lambda mask: _dice(mask, known == label))
        if (unseen == label).any():
            scores.append(_dice(best, unseen == label))
    return float(np.mean(scores)) if scores else 0.0


def _dice(mask: Tensor, truth: Tensor) -> float:
    """Dice of one mask for all slices, over all their pixels."""
    total = len(truth) * int(mask.sum()) + int(truth.sum())
    return 2 * int((truth & mask).sum()) / total if total else 0.0


def _labels(case: Case, section: Any, volumes: int) -> Tensor:
    """Label maps `(N, H, W)` in the whole field of view."""
    dataset = case.parser(section, volumes).get_parsed_content("train#dataset")
    return torch.stack([dataset[index]["label"][0] for index in range(len(dataset))])


EPOCHS: Final = 6
"""Epochs of a round, each a sixth of its steps; every second is validated."""

STALLED: Final = 0.02
"""A loss that falls by less than this from the middle third of a round to its last has stopped falling."""

MIN_GAIN: Final = 0.002
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
        if number > 1 and gain < MIN_GAIN:
            reason = f"stopped early: round {number} gained {gain:+.4f} Dice, less than {MIN_GAIN}"
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
