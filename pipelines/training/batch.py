"""What happens to a batch between the loader and the network."""

from typing import Any

import torch
from torch import Tensor

from pipelines.transforms.augment import RandAugmentBatchd


class PrepareTrainingBatch:
    """Move a batch of slices to the device, augment it there, and lay it out channels last.

    Args:
        augment: Random augmentation of the whole batch.
    """

    def __init__(self, augment: RandAugmentBatchd) -> None:
        self.augment = augment

    def __call__(
        self,
        batchdata: dict[str, Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor]:
        """Image `(B, C, h, w)` float32, channels last, and label `(B, 1, h, w)` int64."""
        moved = {
            key: value.to(device, non_blocking=non_blocking)
            for key, value in batchdata.items()
            if isinstance(value, Tensor)
        }
        batch = self.augment(moved)
        return batch["image"].contiguous(memory_format=torch.channels_last), batch["label"]
