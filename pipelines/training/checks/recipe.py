"""The training recipe: its steps, the last of which is the long run."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from pipelines.core.files import output_folder, write_manifest
from pipelines.core.progress import show_progress
from pipelines.core.records import FOREGROUND
from pipelines.datasets.prepare import DATALIST_NAME, load_or_prepare
from pipelines.models.bundle import load_config
from pipelines.training.checks.case import (
    RECIPE_NAME,
    Case,
    Record,
    Verdict,
    losses_without_learning,
    train_or_resume,
)
from pipelines.training.checks.rates import SMOKE, Sizes, search_grid, sizes_for, sweep
from pipelines.training.checks.sanity import TOLERANCE, check_data, check_initial_loss, check_overfit
from pipelines.training.launch import check_settings

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
            "see that images and labels belong together and that both splits are prepared alike, or give "
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
    sought = sum("sweep" in entry for entry in rounds)
    finding = f"rounds done: {len(rounds)}; {reason}"
    if sought:
        finding += f"; the rate was sought again {sought} times, where the loss had stopped falling"
    if best <= baseline:
        finding += "; it is no better than the early evaluation: look at the rates, or give more time"
    found_weights = None if weights is None else str(weights.relative_to(case.output))
    return Verdict(
        best > baseline,
        best,
        "largest mean Dice on validation volumes",
        f"above {baseline:.3f}, that of the early evaluation",
        finding,
        {"rounds": rounds, "weights": found_weights, "settings": current},
    )


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


CHECK_VOLUMES: Final = 12
"""Volumes that the data and the initial loss are checked on."""

TITLES: Final = {
    "data": "The data",
    "initial_loss": "Loss of the untrained network",
    "overfit": "Overfit a small batch",
    "sweep": "Sweep of learning rates",
    "grid": "Grid around the best rate",
    "early": "Early evaluation",
    "long": "The long run",
}
"""Headings of the steps."""

SMOKE_SETTINGS: Final = {"batch_size": 4, "patch_px": [64, 64]}


def run_recipe(
    root: Path,
    output: Path,
    *,
    network: str,
    minutes: float = 240.0,
    smoke: bool = False,
    fold: int = 0,
    keep_going: bool = False,
    address: str | None = None,
    concurrency: int = 0,
    settings: Mapping[str, Any] | None = None,
    on_step: Callable[[], object] | None = None,
) -> dict[str, Any]:
    """Perform and check the steps from data to a trained network.

    A step that fails ends the recipe, for what comes after it would be wasted. What `output` holds of
    the same recipe is not done again. The test section of the datalist is never looked at.

    Args:
        root: Labelled folder in ACDC's layout, or a prepared one.
        output: Folder for `recipe.json` and the runs; made if it does not exist.
        network: Network of the ACDC bundle.
        minutes: Time for all steps, about; reading the data comes on top.
        smoke: Seconds instead, to see that all works; a failed step does not end it then.
        fold: Fold of validation, 0 to 4.
        keep_going: Go on after a step that failed.
        address: Existing Ray cluster for the grid search, or None for this machine.
        concurrency: Trials of the grid at a time on this machine, 0 for one a core.
        settings: Settings that replace those of the bundle, by their id.
        on_step: Called when `recipe.json` has a further step, and at the end.

    Returns:
        Content of `recipe.json`.

    Raises:
        ConfigError: If a setting is unknown, Ray is missing, or `output` holds another recipe.
        DataError: If the data cannot be used.
        OutputError: If the results cannot be written.
        KeyboardInterrupt: If it was interrupted; the same call goes on.
    """
    given = (SMOKE_SETTINGS if smoke else {}) | dict(settings or {})
    check_settings(given, network)
    output = output_folder(output.resolve())
    prepared = root if (root / DATALIST_NAME).is_file() else output / "prepared"
    datalist = load_or_prepare(root, prepared)
    head = {"network": network, "minutes": minutes, "smoke": smoke, "fold": fold}
    head |= {"split_hash": datalist["split_hash"], "fingerprint": datalist["fingerprint"]}
    head |= {"settings": given}
    record = Record(output, head)
    case = Case(network, prepared, output, given, fold)
    write_manifest(output, **head, finished=False)
    steps = _steps(case, record, None if smoke else minutes, address, concurrency)
    for done, (name, key, perform) in enumerate(steps):
        show_progress(done, len(TITLES), TITLES[name])
        entry = record.step(name, TITLES[name], key, perform)
        if on_step is not None:
            on_step()
        if not (entry["passed"] or smoke or keep_going):
            break
    else:
        record.content["finished"] = True
    record.write()
    write_manifest(output, **head, finished=record.content["finished"], outputs=[RECIPE_NAME])
    if on_step is not None:
        on_step()
    return record.content


def _steps(
    case: Case, record: Record, minutes: float | None, address: str | None, concurrency: int
) -> Iterator[tuple[str, Mapping[str, Any], Callable[[], Verdict]]]:
    """Name of each step, the settings on which its finding depends, and what performs it."""
    found: dict[str, Any] = record.content["steps"]
    checked = CHECK_VOLUMES if minutes is not None else SMOKE.volumes
    yield "data", {"volumes": checked}, lambda: check_data(case, checked)
    key: dict[str, Any] = {"volumes": checked, "tolerance": TOLERANCE}
    yield "initial_loss", key, lambda: check_initial_loss(case, checked)
    seconds_per_step = found["initial_loss"]["details"]["seconds_per_step"]
    sizes = SMOKE if minutes is None else sizes_for(minutes, seconds_per_step)
    yield "overfit", {"steps": sizes.overfit_steps}, lambda: check_overfit(case, sizes.overfit_steps)
    key = {"volumes": sizes.volumes, "steps": sizes.sweep_steps}
    yield "sweep", key, lambda: sweep(case, record, sizes.volumes, sizes.sweep_steps)
    swept, config = found["sweep"]["details"], load_config(case.network, ("train",), **case.settings)
    start = {
        # If each rate made the loss rise, the configured one is as good a middle as any.
        "optimizer": swept["optimizer"] or config["optimizer"],
        "learning_rate": swept["learning_rate"] or config["learning_rate"],
        "batch_size": config["batch_size"],
    }
    key = asdict(sizes) | start
    yield "grid", key, lambda: search_grid(case, sizes, start, address=address, concurrency=concurrency)
    best = found["grid"]["details"]["best"]
    key = asdict(sizes) | best
    yield "early", key, lambda: check_early(case, sizes, best)
    baseline = found["early"]["figure"]
    yield "long", key | {"baseline": baseline}, lambda: run_long(case, record, sizes, best, baseline)
