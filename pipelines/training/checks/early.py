"""A short training and its Dice on unseen volumes, before hours are spent on the long one."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from pipelines.core.labels import FOREGROUND
from pipelines.training.checks.case import Case, losses_without_learning
from pipelines.training.checks.full_training import train_or_resume
from pipelines.training.checks.plan import Sizes
from pipelines.training.checks.record import Verdict

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
