"""The correcting network begins as the automatic one that it corrects."""

from pathlib import Path

import torch
from torch import nn

from pipelines.core.errors import ConfigError
from pipelines.models.checkpoints import load_weights
from pipelines.training.memory import keep_freed_memory


def start_from_automatic(network: nn.Module, automatic: nn.Module, weights: str | Path) -> None:
    """Prepare the process for training and copy the weights of the automatic network.

    The first layers see more channels than the automatic network's: its own come first, and the others
    begin with weights of zero, so that before training clicks change nothing.

    Args:
        network: Network to be trained.
        automatic: Network of the same layers, with fewer input channels.
        weights: Weights of the automatic network.

    Raises:
        ConfigError: If the weights are missing or do not fit, or the networks differ in more than that.
    """
    keep_freed_memory()
    load_weights(automatic, Path(weights))
    wanted, known = network.state_dict(), automatic.state_dict()
    odd = sorted(wanted.keys() ^ known.keys())
    odd += [key for key in wanted.keys() & known.keys() if not _widens(known[key], wanted[key])]
    if odd:
        raise ConfigError(
            f"expected a network that differs from the automatic one in its input channels only, "
            f"found other layers: {odd[:3]}; give both the same widths"
        )
    for key, value in wanted.items():
        if value.shape == known[key].shape:
            value.copy_(known[key])
        else:
            value.zero_()
            value[:, : known[key].shape[1]] = known[key]


def _widens(old: torch.Tensor, new: torch.Tensor) -> bool:
    if old.shape == new.shape:
        return True
    same_rest = old.ndim == new.ndim > 1 and old.shape[0] == new.shape[0] and old.shape[2:] == new.shape[2:]
    return bool(same_rest and old.shape[1] < new.shape[1])
