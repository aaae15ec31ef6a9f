"""Scores of whole validation volumes on their native grid."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from ignite.metrics import Metric
from monai.utils import evenly_divisible_all_gather
from torch import Tensor

from pipelines.core.labels import FOREGROUND, LABEL_NAMES


class VolumeMetrics(Metric):
    """Mean Dice and IoU per structure and the soft Dice loss, over whole volumes.

    A structure that is absent from both masks of a volume does not count in it, and
    one that is absent from the label does not count in the loss.
    Results are `val_dice_rv`, ..., `val_iou_lv` and `val_dice_loss`.

    Args:
        output_transform: Gives lists of predictions, probabilities and labels, each `(4, X, Y, Z)`
            with one channel a class; predictions and labels are one-hot.
    """

    def __init__(self, output_transform: Callable[..., Any]) -> None:
        super().__init__(output_transform, skip_unrolling=True)

    def reset(self) -> None:
        """Forget all volumes."""
        self._dice: list[Tensor] = []
        self._iou: list[Tensor] = []
        self._loss: list[Tensor] = []

    def update(self, output: tuple[Sequence[Tensor], Sequence[Tensor], Sequence[Tensor]]) -> None:
        """Add the volumes of one batch."""
        for prediction, probability, label in zip(*output, strict=True):
            both, total = _overlap(prediction, label)
            self._dice.append(2 * both / total)
            self._iou.append(both / (total - both))
            both, total = _overlap(probability, label)
            absent = torch.as_tensor(label)[1:].sum((1, 2, 3)) == 0
            self._loss.append((1 - 2 * both / total).masked_fill(absent, torch.nan))

    def compute(self) -> dict[str, float]:
        """Means over volumes; NaN where a structure is nowhere."""
        # Where several processes train, each has seen a share of the volumes.
        dice, iou, loss = (
            evenly_divisible_all_gather(torch.stack(values)) for values in (self._dice, self._iou, self._loss)
        )
        dice, iou = dice.nanmean(0), iou.nanmean(0)
        result = {f"val_dice_{LABEL_NAMES[label]}": float(dice[label - 1]) for label in FOREGROUND}
        result |= {f"val_iou_{LABEL_NAMES[label]}": float(iou[label - 1]) for label in FOREGROUND}
        return result | {"val_dice_loss": float(loss.nanmean())}


def _overlap(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Intersections and summed sizes of the foreground classes, each `(3,)`."""
    first, second = torch.as_tensor(first)[1:].float(), torch.as_tensor(second)[1:].float()
    axes = (1, 2, 3)
    return (first * second).sum(axes), first.sum(axes) + second.sum(axes)
