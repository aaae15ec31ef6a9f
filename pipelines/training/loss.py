"""Dice plus cross-entropy, also over the heads of deep supervision."""

import torch
from monai.losses import DeepSupervisionLoss, DiceCELoss
from torch import Tensor, nn


class SegmentationLoss(nn.Module):
    """Dice plus cross-entropy of logits and labels, in float32.

    Dice is taken over the batch, so that a slice without a structure does not
    push the network to see it nowhere.

    Args:
        cross_entropy_weight: Weight of the cross-entropy against Dice.
    """

    def __init__(self, cross_entropy_weight: float = 1.0) -> None:
        super().__init__()
        single = DiceCELoss(
            include_background=False,
            to_onehot_y=True,
            softmax=True,
            batch=True,
            lambda_ce=cross_entropy_weight,
        )
        self.loss = DeepSupervisionLoss(single, weight_mode="exp")

    def forward(self, prediction: Tensor, label: Tensor) -> Tensor:
        """Loss, a scalar.

        Args:
            prediction: Logits `(B, C, H, W)`, or `(B, heads, C, H, W)` with the main head first.
            label: `(B, 1, H, W)` integer.
        """
        heads = (
            torch.unbind(prediction.float(), dim=1) if prediction.ndim > label.ndim else [prediction.float()]
        )
        total: Tensor = self.loss(list(heads), label)
        return total


class ClassLoss(nn.CrossEntropyLoss):
    """Cross-entropy of logits in any precision, computed in float32."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: A002
        """Loss of logits `(B, C)` and labels `(B,)`."""
        return super().forward(input.float(), target)
