"""What happens to a batch between the loader and the network."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class PrepareTrainingBatch:
    """Move a batch to the device, augment it there, and lay it out channels last.

    Args:
        augment: Transform of the whole batch; keeps `image` and `label`.
    """

    def __init__(self, augment: Callable[[dict[str, Tensor]], Any]) -> None:
        self.augment = augment

    def __call__(
        self,
        batchdata: dict[str, Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor]:
        """Image `(B, C, h, w)` float32, channels last, and label `(B, ...)` int64."""
        moved = {
            key: value.to(device, non_blocking=non_blocking)
            for key, value in batchdata.items()
            if isinstance(value, Tensor)
        }
        batch = self.augment(moved)
        # MONAI's transforms may give its own tensor type, whose bookkeeping slows each operation down.
        image = batch["image"].as_subclass(Tensor)
        return image.contiguous(memory_format=torch.channels_last), batch["label"]
