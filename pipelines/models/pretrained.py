"""ImageNet weights for torchvision's ResNets."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import get_model_weights

from pipelines.core.errors import ConfigError

HEAD = "fc."
"""What the keys of the last layer begin with; ImageNet's has other classes and is left out."""


def load_imagenet(network: nn.Module, name: str, *, weights_file: Path | None = None) -> None:
    """Load ImageNet's weights into everything but the head.

    Args:
        network: torchvision ResNet, whose head is left as it is.
        name: torchvision's name of it, e.g. `"resnet18"`.
        weights_file: Existing file in torchvision's format; without it torchvision downloads one.

    Raises:
        ConfigError: If the file is missing, no download is possible, or the weights do not fit.
    """
    state = _read(weights_file) if weights_file else _download(name)
    backbone = {key: value for key, value in state.items() if not key.startswith(HEAD)}
    wanted = {key: value for key, value in network.state_dict().items() if not key.startswith(HEAD)}
    # Files of before 2018 do not count batches; a fresh counter does no harm.
    missing = sorted(
        key for key in wanted.keys() - backbone.keys() if not key.endswith("num_batches_tracked")
    )
    shapes = sorted(
        key for key in wanted.keys() & backbone.keys() if wanted[key].shape != backbone[key].shape
    )
    unexpected = sorted(backbone.keys() - wanted.keys())
    if missing or shapes or unexpected:
        raise ConfigError(
            f"expected ImageNet weights of {name}, found others in {weights_file}: missing {missing[:3]}, "
            f"unexpected {unexpected[:3]}, other shapes {shapes[:3]}; choose the network they fit"
        )
    network.load_state_dict(backbone, strict=False)


def _read(path: Path) -> dict[str, Tensor]:
    try:
        state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        if not state or not all(isinstance(value, Tensor) for value in state.values()):
            raise ValueError("it holds no weights")
    except FileNotFoundError as error:
        raise ConfigError(f"expected ImageNet weights at {path}, found none") from error
    except Exception as error:
        raise ConfigError(f"expected a weights file of torchvision, found {path}: {error}") from error
    return state


def _download(name: str) -> dict[str, Tensor]:
    weights = get_model_weights(name).DEFAULT
    try:
        state: dict[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise ConfigError(
            f"expected to download the ImageNet weights of {name}, found no way to: {error}; "
            f"get {weights.url} on another machine and give it as weights_file, "
            "or train from scratch with pretrained: false"
        ) from error
    return state
