"""Reduced precision on CPU and GPU behind one inferer."""

from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import Inferer, SimpleInferer
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


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
            if self.dtype is None or inputs.device.type != "cpu" or not torch.is_grad_enabled():
                return self.inferer(inputs, network, *args, **kwargs)
            with _GroupedInFloat32():
                return self.inferer(inputs, network, *args, **kwargs)


class _GroupedInFloat32(TorchFunctionMode):
    """Grouped convolutions in float32, since their bf16 gradients take up to 10 times as long on a CPU."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is not torch.conv2d or len(args) < 7 or args[6] == 1:
            return func(*args, **(kwargs or {}))
        image, weight, *rest = args
        with torch.autocast("cpu", enabled=False):
            return func(image.float(), weight.float(), *rest).to(image.dtype)
