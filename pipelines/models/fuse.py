"""The same network with less to do."""

import copy

import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm


def fused(network: nn.Module, dtype: torch.dtype | None = None) -> nn.Module:
    """A copy for inference, with batch norms merged into the convolutions before them.

    Args:
        network: In evaluation mode, with a forward that `torch.fx` can trace once layers of timm are
            replaced by torch's.
        dtype: Type of the weights of all layers but the batch norms that remain, None keeps it.
    """
    faster: nn.Module = fuse(_in_torchs_layers(network))
    if dtype is not None:
        for module in faster.modules():
            if not isinstance(module, _BatchNorm):
                for parameter in module.parameters(recurse=False):
                    parameter.data = parameter.data.to(dtype)
    return faster.to(memory_format=torch.channels_last)


def _in_torchs_layers(network: nn.Module) -> nn.Module:
    """A copy without timm's batch norms that activate and convolutions that pad, which cannot be merged."""
    if not any(type(module).__module__.startswith("timm.") for module in network.modules()):
        return network
    from timm.layers import BatchNormAct2d, Conv2dSame  # late: most networks are none of timm's

    plain = copy.deepcopy(network)
    for parent in list(plain.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, BatchNormAct2d):
                norm = nn.BatchNorm2d(layer.num_features, eps=layer.eps)
                setattr(parent, name, nn.Sequential(_like(norm, layer), layer.drop, layer.act))
            elif isinstance(layer, Conv2dSame):
                convolution = nn.Conv2d(
                    layer.in_channels,
                    layer.out_channels,
                    layer.kernel_size,
                    layer.stride,
                    groups=layer.groups,
                    bias=layer.bias is not None,
                )
                padding = _SamePadding(layer.kernel_size, layer.stride)
                setattr(parent, name, nn.Sequential(padding, _like(convolution, layer)))
    return plain.train(network.training)


def _like(layer: nn.Module, source: nn.Module) -> nn.Module:
    layer.load_state_dict(source.state_dict())
    return layer.to(next(source.parameters()))


class _SamePadding(nn.Module):
    """Zeros around an image so that a stride divides its sides evenly, more of them at the end."""

    def __init__(self, kernel: tuple[int, ...], stride: tuple[int, ...]) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, image: Tensor) -> Tensor:
        sides = []
        for axis in (-1, -2):
            total = self.kernel[axis] - 1 - (image.shape[axis] - 1) % self.stride[axis]
            sides += [total // 2, total - total // 2]
        return F.pad(image, sides)
