"""Scores of a classification over an epoch, in training and in validation."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from ignite.metrics import Metric
from monai.utils import evenly_divisible_all_gather
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn import functional as F

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
