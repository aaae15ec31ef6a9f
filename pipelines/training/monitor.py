"""What a run leaves to look at: TensorBoard with pictures, a CSV of its history, a log of its epochs."""

import csv
import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from ignite.engine import Engine, Events
from torch.optim import Optimizer
from torch.utils.tensorboard import SummaryWriter

from pipelines.core.files import write_csv
from pipelines.core.labels import LABEL_COLORS, AcdcLabel


class VolumePictures:
    """The worst and the median volume of a validation, truth beside prediction.

    Args:
        evaluator: Validation engine whose output holds `image`, `label` and `pred`.
    """

    def __init__(self, evaluator: Engine) -> None:
        self._pictures: list[tuple[float, torch.Tensor]] = []
        evaluator.add_event_handler(Events.ITERATION_COMPLETED, self._keep)

    def _keep(self, evaluator: Engine) -> None:
        for item in evaluator.state.output:
            image, label, prediction = (
                torch.as_tensor(item[key]).cpu() for key in ("image", "label", "pred")
            )
            both = (label[1:] * prediction[1:]).sum()
            dice = float(2 * both / (label[1:].sum() + prediction[1:].sum()).clamp_min(1))
            self._pictures.append((dice, _picture(image, label, prediction)))

    def draw(self, writer: SummaryWriter, epoch: int) -> None:
        """Write the worst and the median volume since the last call, and forget all."""
        if not self._pictures:
            return
        ranked = sorted(self._pictures, key=lambda pair: pair[0])
        for name, index in (("worst", 0), ("median", len(ranked) // 2)):
            dice, picture = ranked[index]
            writer.add_image(f"{name}: truth left, prediction right", picture, epoch, dataformats="HWC")
            writer.add_scalar(f"dice of the {name} case", dice, epoch)
        self.forget()

    def forget(self) -> None:
        """Forget the volumes since the last call."""
        self._pictures = []


def _picture(image: torch.Tensor, label: torch.Tensor, prediction: torch.Tensor) -> torch.Tensor:
    """`(H, 2 W, 3)` uint8 of the slice with the most labelled voxels.

    The image may be on the network's grid and is shown only through the masks' own grid size.
    """
    z = int(label[1:].sum(dim=(0, 1, 2)).argmax())
    slice_ = image[len(image) // 2, :, :, min(z, image.shape[-1] - 1)][None, None].float()
    grey = torch.nn.functional.interpolate(slice_, label.shape[1:3], mode="bilinear")[0, 0]
    low, high = np.percentile(grey.numpy(), [1, 99])
    grey = ((grey - low) / max(high - low, 1e-6)).clamp(0, 1)
    halves = [_tinted(grey, mask[..., z]) for mask in (label, prediction)]
    return (torch.cat(halves, dim=1) * 255).to(torch.uint8)


def _tinted(grey: torch.Tensor, onehot: torch.Tensor) -> torch.Tensor:
    picture = grey[..., None].repeat(1, 1, 3)
    for structure, color in LABEL_COLORS.items():
        rgb = torch.tensor([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        inside = onehot[AcdcLabel(structure)].bool()
        picture[inside] = 0.6 * picture[inside] + 0.4 * rgb
    return picture


logger = logging.getLogger(__name__)
HISTORY_NAME = "history.csv"
LOG_NAME = "training.log"


class Pictures(Protocol):
    """Pictures of what a validation showed."""

    def draw(self, writer: SummaryWriter, epoch: int) -> None:
        """Write what was kept since the last call to TensorBoard, and forget it."""

    def forget(self) -> None:
        """Forget what was kept."""


class TrainingMonitor:
    """Record losses, learning rate, validation scores and pictures of a run.

    Each epoch is a row of `history.csv`, a point in TensorBoard and a line of `training.log`, with the
    metrics of trainer and evaluator; after a validation, pictures are drawn.

    Args:
        folder: Folder of the run.
        evaluator: Validation engine; its metrics are recorded.
        optimizer: Its first learning rate is recorded.
        pictures: Draws what the validation showed.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        evaluator: Engine,
        optimizer: Optimizer,
        pictures: Pictures | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.optimizer = optimizer
        self._rows: list[dict[str, Any]] = []
        self._loss_sum = 0.0
        self._batches = 0
        self._metrics: dict[str, float] = {}
        self._began: float | None = None
        self._epochs = 0
        self._pictures = pictures
        self._writer: SummaryWriter | None = None
        evaluator.add_event_handler(Events.EPOCH_COMPLETED, self._keep_metrics)

    def attach(self, engine: Engine) -> None:
        """Record from the trainer's events; attach it after validation."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_STARTED, self._start_clock)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add_loss)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write_epoch)
        engine.add_event_handler(Events.COMPLETED, self._close)

    @property
    def writer(self) -> SummaryWriter:
        """TensorBoard writer of the run, opened on first use."""
        if self._writer is None:
            self._writer = SummaryWriter(str(self.folder / "tensorboard"))
        return self._writer

    def _start(self, engine: Engine) -> None:
        path = self.folder / HISTORY_NAME
        if path.is_file():
            with path.open(encoding="utf-8", newline="") as stream:
                self._rows = list(csv.DictReader(stream))

    def _add_loss(self, engine: Engine) -> None:
        output = engine.state.output
        loss = (output[0] if isinstance(output, list) else output)["loss"]
        self._loss_sum += float(loss)
        self._batches += 1

    def _write_epoch(self, engine: Engine) -> None:
        epoch = engine.state.epoch
        row: dict[str, Any] = {
            "epoch": epoch,
            "iteration": engine.state.iteration,
            "train_loss": self._loss_sum / max(1, self._batches),
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            **_numbers(engine.state.metrics),
            **self._metrics,
        }
        self._loss_sum, self._batches = 0.0, 0
        for name, value in row.items():
            if name not in ("epoch", "iteration"):
                self.writer.add_scalar(name, value, epoch)
        if self._pictures is not None:
            self._pictures.draw(self.writer, epoch)
        # A resumed run repeats the epochs after its last checkpoint: their old rows go.
        self._rows = [entry for entry in self._rows if int(entry["epoch"]) < epoch] + [row]
        self._metrics = {}
        names = list(dict.fromkeys(name for entry in self._rows for name in entry))
        write_csv(self.folder / HISTORY_NAME, names, self._rows)
        scores = ", ".join(
            f"{name} {value:.4g}" for name, value in row.items() if name not in ("epoch", "iteration")
        )
        self._log(f"epoch {epoch}{self._time_left(engine)}: {scores}")

    def _start_clock(self, engine: Engine) -> None:
        self._began = self._began or time.perf_counter()
        self._epochs += 1

    def _time_left(self, engine: Engine) -> str:
        """Epochs and minutes that the run has at most: early stopping may end it before."""
        epoch, last = engine.state.epoch, engine.state.max_epochs
        seconds = getattr(engine.state, "seconds_left", None)  # of a training by the clock
        if seconds is not None:
            return f" (at most {seconds / 60:.1f} min left)"
        spent = time.perf_counter() - (self._began or 0.0)
        return f" of {last} (at most {spent / self._epochs * (last - epoch) / 60:.1f} min left)"

    def _log(self, line: str) -> None:
        logger.info(line)
        with (self.folder / LOG_NAME).open("a", encoding="utf-8") as stream:
            stream.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {line}\n")

    def _close(self, engine: Engine) -> None:
        if self._writer is not None:
            self._writer.close()

    def _keep_metrics(self, evaluator: Engine) -> None:
        self._metrics = _numbers(evaluator.state.metrics)


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items() if isinstance(value, int | float)}
