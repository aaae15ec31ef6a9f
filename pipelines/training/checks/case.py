"""What a recipe is about, trainings by the bundle's own workflow, and what each step found."""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal

import torch
from ignite.engine import Engine, Events
from monai.bundle import ConfigParser
from torch import Tensor

from pipelines.core.errors import ConfigError, expecting
from pipelines.core.files import MANIFEST_NAME, output_folder, read_csv, read_json, write_json
from pipelines.core.progress import progress_to
from pipelines.datasets.prepare import read_datalist, select
from pipelines.models.bundle import load_config
from pipelines.models.weights import BEST_NAME, LAST_NAME
from pipelines.training.handlers import HISTORY_NAME
from pipelines.training.launch import train_network
from pipelines.training.optimisation import flushed_denormals
from pipelines.transforms.augment import SpatialAugmentation

RECIPE_NAME: Final = "recipe.json"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a step found.

    Attributes:
        passed: Whether the figure is as expected.
        figure: The figure, None if there is none.
        measures: What the figure is, with its unit.
        expectation: What was expected of it, and why.
        finding: What it means and what to do, in plain words.
        details: Further figures.
    """

    passed: bool
    figure: float | None
    measures: str
    expectation: str
    finding: str
    details: Mapping[str, Any] = field(default_factory=dict)


class Record:
    """Findings of the steps in `recipe.json`, written after each step and each part of one.

    A step or part that was finished with the same settings is taken from the file.

    Args:
        folder: Folder of the recipe; made if it does not exist.
        head: What the recipe is about; kept beside the steps.

    Raises:
        ConfigError: If the folder holds a recipe of something else or an unreadable one.
        OutputError: If it cannot be written.
    """

    def __init__(self, folder: Path, head: Mapping[str, Any]) -> None:
        self.path = output_folder(folder) / RECIPE_NAME
        self.content: dict[str, Any] = {**head, "finished": False, "steps": {}, "parts": {}}
        if self.path.is_file():
            with expecting(f"a recipe to go on with in {self.path}", ConfigError):
                found = read_json(self.path)
                same = {name: found[name] for name in head} == json.loads(json.dumps(dict(head)))
                self.content["steps"], self.content["parts"] = found["steps"], found["parts"]
            if not same:
                raise ConfigError(
                    f"expected a recipe of the same network and data in {self.path}, found another; "
                    "choose another folder by --output"
                )

    def step(
        self, name: str, title: str, settings: Mapping[str, Any], perform: Callable[[], Verdict]
    ) -> dict[str, Any]:
        """Finding of a step, which is performed unless it was with these settings.

        Args:
            name: Name of the step.
            title: Its heading.
            settings: All that its finding depends on, as JSON can hold it.
            perform: Does the step.

        Returns:
            The verdict with `title`, `settings` and `seconds`.
        """
        key = json.loads(json.dumps(dict(settings)))
        known: dict[str, Any] | None = self.content["steps"].get(name)
        if known is not None and known["settings"] == key:
            return known
        if known is not None:  # what comes after rests on it
            names = list(self.content["steps"])
            for later in names[names.index(name) :]:
                del self.content["steps"][later]
        begin = time.perf_counter()
        verdict = perform()
        entry = {"title": title, "settings": key, **asdict(verdict), "seconds": time.perf_counter() - begin}
        self.content["steps"][name] = entry
        self.write()
        return entry

    def part(self, key: str, compute: Callable[[], Any]) -> Any:
        """Result of a part of a step, computed unless it was.

        Args:
            key: Name of the part with all that it depends on.
            compute: Gives what JSON can hold.
        """
        if key not in self.content["parts"]:
            self.content["parts"][key] = compute()
            self.write()
        return self.content["parts"][key]

    def write(self) -> None:
        """Write `recipe.json`."""
        write_json(self.path, self.content)


FIXED: Final = ("EpochSeeder", "GradientClipper")
"""Handlers of the bundle's trainer that short trainings keep; the others save, validate or decay the rate."""

NO_AUGMENTATION: Final = {"train::augment::intensity::share": 0.0} | {
    f"train::augment::spatial::{one.name}": 0.0
    for one in fields(SpatialAugmentation)
    if one.name != "elastic_grid"
}
"""Settings that leave the crop around the heart and nothing else of the augmentation."""

Seen = Literal["training", "validation"]
"""Sections that a recipe may look at."""


@dataclass(frozen=True, slots=True)
class Case:
    """A network and the data that it is to learn.

    Attributes:
        network: Network of the ACDC bundle.
        dataset_dir: Prepared folder.
        output: Folder of the recipe.
        settings: Settings that replace those of the bundle, by their id.
        fold: Fold of validation, 0 to 4.
    """

    network: str
    dataset_dir: Path
    output: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    fold: int = 0

    def spread(self, section: Seen, volumes: int | None) -> str:
        """Expression of the configuration for so many volumes of a section, evenly spread over it."""
        found = len(select(read_datalist(self.dataset_dir), section, self.fold))
        stride = max(1, found // volumes) if volumes else 1
        ends = f"[::{stride}][:{volumes}]" if volumes else ""
        return f"$prepare.select(@datalist, '{section}', @fold){ends}"

    def shared(self) -> dict[str, Any]:
        """Settings of each training of the recipe."""
        return {**self.settings, "fold": self.fold, "cache_dir": str((self.output / "cache").resolve())}

    def parser(
        self, section: Seen, volumes: int | None, *, augment: bool = True, **settings: Any
    ) -> ConfigParser:
        """The bundle's training configuration with fewer data, seeded and not yet instantiated.

        Args:
            section: Section that is trained on.
            volumes: How many of it, None for all.
            augment: Whether the bundle's augmentation is on.
            **settings: Further settings, by their id.
        """
        values: dict[str, Any] = {"train::dataset::data": self.spread(section, volumes)}
        parser = load_config(
            self.network,
            ("train",),
            dataset_dir=str(self.dataset_dir.resolve()),
            output_dir=str(self.output.resolve()),
            **values | ({} if augment else NO_AUGMENTATION) | self.shared() | settings,
        )
        handlers = [
            entry
            for entry in parser["train::handlers"]
            if isinstance(entry, dict) and str(entry.get("_target_")).rpartition(".")[2] in FIXED
        ]
        parser.update({"train::handlers": handlers, "train::trainer::max_epochs": 1})
        parser.get_parsed_content("initialize")
        return parser


@dataclass(frozen=True, slots=True)
class Course:
    """How a short training went.

    Attributes:
        losses: Loss of each iteration; the last is not finite if training broke down.
        seconds: Wall time of each iteration, s.
    """

    losses: list[float]
    seconds: list[float]

    @property
    def end(self) -> float:
        """Mean loss of the last quarter, infinite if it is not finite."""
        tail = self.losses[-max(1, len(self.losses) // 4) :]
        mean = sum(tail) / len(tail)
        return mean if math.isfinite(mean) else math.inf


def train_steps(
    parser: ConfigParser, steps: int, *, stop: Callable[[float], bool] = lambda loss: False
) -> Course:
    """Run the configured trainer for so many iterations at a constant rate.

    Args:
        parser: As from `Case.parser`.
        steps: Iterations at most; the data are gone through as often as that takes.
        stop: Given the loss after each iteration; ends the training. A loss that is not finite ends it too.
    """
    parser.update({"train::trainer::epoch_length": steps})
    trainer: Engine = parser.get_parsed_content("train#trainer")
    losses: list[float] = []
    seconds: list[float] = []
    last = time.perf_counter()

    def note(engine: Engine) -> None:
        nonlocal last
        output = engine.state.output
        losses.append(float((output[0] if isinstance(output, list) else output)["loss"]))
        now = time.perf_counter()
        seconds.append(now - last)
        last = now
        if not math.isfinite(losses[-1]) or stop(losses[-1]):
            engine.terminate()

    trainer.add_event_handler(Events.ITERATION_COMPLETED, note)
    with flushed_denormals():
        trainer.run()
    return Course(losses, seconds)


def prepared_batches(parser: ConfigParser) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches as the network sees them in training: image `(B, C, h, w)` and label `(B, 1, h, w)`."""
    device = parser.get_parsed_content("device")
    prepare = parser.get_parsed_content("train#trainer#prepare_batch")
    for batch in parser.get_parsed_content("train#dataloader"):
        yield prepare(batch, device)


@torch.no_grad()
def losses_without_learning(parser: ConfigParser) -> tuple[float, float, Tensor]:
    """Loss of the network as it is, and that of equal probabilities for all classes.

    The network runs as in training: batch norms take the batch, all heads count.

    Returns:
        Both losses, means over the batches, and `(C,)` the share of pixels of each class.
    """
    network = parser.get_parsed_content("network").train()
    infer = parser.get_parsed_content("train#trainer#inferer")
    loss = parser.get_parsed_content("train#loss")
    found, chance, counts = [], [], torch.zeros(int(parser.get_parsed_content("channels")))
    for image, label in prepared_batches(parser):
        logits = infer(image, network)
        found.append(float(loss(logits, label)))
        chance.append(float(loss(torch.zeros_like(logits), label)))
        counts += torch.bincount(label.flatten().cpu(), minlength=len(counts))
    return sum(found) / len(found), sum(chance) / len(chance), counts / counts.sum()


@progress_to(None)
def train_or_resume(case: Case, name: str, settings: Mapping[str, Any]) -> tuple[list[dict[str, str]], Path]:
    """Train, or go on with the training of these settings that was interrupted.

    Args:
        case: What is to be trained.
        name: Beginning of the folder's name.
        settings: Settings beyond those of the case, by their id.

    Returns:
        Rows of the history, and the path of the best weights.

    Raises:
        ThoraxError: As for `train_network`.
    """
    values = case.shared() | dict(settings)
    digest = hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:8]
    folder = case.output / f"{name}-{digest}"
    if not _is_finished(folder):
        resume = (folder / LAST_NAME).is_file()
        train_network(case.network, case.dataset_dir, folder, resume=resume, overlays=("steps",), **values)
    return read_csv(folder / HISTORY_NAME), folder / BEST_NAME


def _is_finished(folder: Path) -> bool:
    """Whether a run came to its end, be it early; such a one must not be told to go on."""
    path = folder / MANIFEST_NAME
    return path.is_file() and bool(read_json(path)["finished"])
