"""Reduced precision on CPU and GPU behind one inferer."""

from typing import Any

import torch
from monai.inferers import Inferer, SimpleInferer
from torch import Tensor, nn


class AutocastInferer(Inferer):
    """Run an inferer under autocast; the loss outside of it stays in float32.

    MONAI's `amp: true` wraps CUDA only, so bf16 on a CPU needs this.

    Args:
        dtype: Type of the fast operations, or None for plain float32.
        inferer: What is run; by default the network as it is.
    """

    def __init__(self, dtype: torch.dtype | None, inferer: Inferer | None = None) -> None:
        super().__init__()
        self.dtype = dtype
        self.inferer = inferer or SimpleInferer()

    def __call__(self, inputs: Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """The network's output for `inputs`."""
        with torch.autocast(inputs.device.type, self.dtype, enabled=self.dtype is not None):
            return self.inferer(inputs, network, *args, **kwargs)
