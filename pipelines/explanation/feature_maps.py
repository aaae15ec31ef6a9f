"""What the layers of a network answer to one slice, and where its attention gates are open."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from pipelines.core.errors import ConfigError

Maps = npt.NDArray[np.float32]

GATE: Final = "attention.psi"
"""Part of the name of an attention gate's coefficients in MONAI's AttentionUnet.

References:
    Oktay et al., MIDL 2018, arXiv:1804.03999.
"""


@contextmanager
def recorded(network: nn.Module) -> Iterator[dict[str, Maps]]:
    """Record what each layer answers while the block runs.

    A layer that runs twice is recorded the last time; layers whose answer is no batch of maps
    are not recorded.

    Args:
        network: Runs on one slice `(1, C, H, W)` within the block.

    Yields:
        `(C, h, w)` float32 of each layer by its name, in the order in which they ended.
    """
    outputs: dict[str, Maps] = {}

    def keep(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor) and output.ndim == 4:
                outputs.pop(name, None)
                outputs[name] = output[0].detach().float().cpu().numpy()

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in network.named_modules() if name]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def chosen_layers(outputs: Mapping[str, Maps], names: Sequence[str] | None = None) -> list[str]:
    """Layers to show: those named, or the last one before each change of resolution.

    Args:
        outputs: What the layers answered, in their order.
        names: Names of layers, None to choose.

    Raises:
        ConfigError: If there is no such layer; the message lists those there are.
    """
    if names:
        unknown = [name for name in names if name not in outputs]
        if unknown:
            raise ConfigError(
                f"expected a layer of the network, found {', '.join(unknown)}; "
                f"its layers are {', '.join(outputs)}"
            )
        return list(names)
    shown = [name for name in outputs if not _is_in_gate(name)]
    sizes = [outputs[name].shape[1:] for name in shown] + [()]
    return [name for name, size, after in zip(shown, sizes, sizes[1:], strict=False) if size != after]


def attention_gates(outputs: Mapping[str, Maps]) -> dict[str, Maps]:
    """Coefficients `(h, w)` of each attention gate, 0 closed to 1 open, coarse to fine.

    Args:
        outputs: What the layers answered, in their order.

    Returns:
        By the name of the attention block; empty for a network without.
    """
    gates = {
        name.partition(f".{GATE}")[0] + ".attention": maps[0]
        for name, maps in outputs.items()
        if _is_in_gate(name) and len(maps) == 1
    }
    return dict(sorted(gates.items(), key=lambda pair: pair[1].size))


def liveliest_channels(maps: Maps, count: int) -> list[int]:
    """Channels of `(C, h, w)` that vary most over the slice, the most first."""
    return [int(channel) for channel in np.argsort(-maps.std(axis=(1, 2)), kind="stable")[:count]]


def _is_in_gate(name: str) -> bool:
    return GATE in name
