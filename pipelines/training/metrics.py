"""Scores over an epoch: of classified images, and of whole volumes on their native grid."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine
from ignite.metrics import Metric
from monai.utils import evenly_divisible_all_gather
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn import functional as F

from pipelines.core.labels import FOREGROUND, LABEL_NAMES
from pipelines.evaluation.classification import decision_scores


class ClassMetrics(Metric):
    """Loss, accuracy, balanced accuracy, precision, recall, F1 and AUROC, decided at 0.5.

    The loss is the plain cross-entropy, without weights and smoothing, so that training and
    validation compare; in a run's history it stands in the place of the loss that is minimised.

    Args:
        output_transform: Gives logits `(2,)` or `(B, 2)` and labels, a batch in lists.
        prefix: What the names of the results begin with, `"val_"` or `"train_"`.
    """

    def __init__(self, output_transform: Callable[..., Any], *, prefix: str) -> None:
        self.prefix = prefix
        super().__init__(output_transform, skip_unrolling=True)

    def reset(self) -> None:
        """Forget all images."""
        self._logits: list[Tensor] = []
        self._labels: list[Tensor] = []

    def update(self, output: tuple[Sequence[Tensor], Sequence[Any]]) -> None:
        """Add the images of one batch."""
        logits, labels = output
        self._logits += [torch.as_tensor(item).detach().float().cpu().reshape(-1, 2) for item in logits]
        self._labels += [torch.as_tensor(item).cpu().reshape(-1) for item in labels]

    def completed(self, engine: Engine, name: str) -> None:
        """Add all scores to the engine's metrics; `name` is one of them, the one that MONAI compares."""
        engine.state.metrics.update(self.compute())

    def compute(self) -> dict[str, float]:
        """Scores over all images; what is not defined, as AUROC of one class, is NaN."""
        # Where several processes train, each has seen a share of the images.
        logits = evenly_divisible_all_gather(torch.cat(self._logits))
        labels = evenly_divisible_all_gather(torch.cat(self._labels).long())
        positive = logits.softmax(dim=1)[:, 1].numpy().astype(np.float64)
        truth = labels.numpy()
        scores = decision_scores(truth, positive >= 0.5)
        scores["auroc"] = float(roc_auc_score(truth, positive)) if len(np.unique(truth)) == 2 else np.nan
        scores["loss"] = float(F.cross_entropy(logits, labels))
        return {f"{self.prefix}{name}": value for name, value in scores.items()}


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
