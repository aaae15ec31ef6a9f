"""The same network with less to do."""

import torch
from torch import nn
from torch.fx.experimental.optimization import fuse
from torch.nn.modules.batchnorm import _BatchNorm


def fused(network: nn.Module, dtype: torch.dtype | None = None) -> nn.Module:
    """A copy for inference, with batch norms merged into the convolutions before them.

    Args:
        network: In evaluation mode, with a forward that `torch.fx` can trace.
        dtype: Type of the weights of all layers but the batch norms that remain, None keeps it.
    """
    copy: nn.Module = fuse(network)
    if dtype is not None:
        for module in copy.modules():
            if not isinstance(module, _BatchNorm):
                for parameter in module.parameters(recurse=False):
                    parameter.data = parameter.data.to(dtype)
    return copy.to(memory_format=torch.channels_last)
