"""Last and best checkpoints of a run, and resuming from the last."""

import logging
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events

from pipelines.core.errors import ConfigError, cause
from pipelines.core.files import atomic_path, output_folder

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
                f"expected an empty run folder, found {last}; go on with it by --resume true, "
                "or choose another folder by --output_dir"
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
        wanted = network.state_dict()
        missing, unexpected = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
        shapes = [key for key in wanted.keys() & state.keys() if wanted[key].shape != state[key].shape]
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
    if missing or unexpected or shapes:
        raise ConfigError(
            f"expected weights of {type(network).__name__}, found others in {path}: missing {missing[:3]}, "
            f"unexpected {unexpected[:3]}, other shapes {sorted(shapes)[:3]}; choose the network they fit"
        )
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
