"""Metrics and handlers of a training run: checkpoints, budget, TensorBoard."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from ignite.engine import Engine, Events
from ignite.metrics import Metric
from monai.engines.utils import IterationEvents
from monai.utils import evenly_divisible_all_gather
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel
from torch.utils.tensorboard import SummaryWriter

from pipelines.core.files import read_csv, write_csv
from pipelines.core.records import FOREGROUND, LABEL_COLORS, LABEL_NAMES, AcdcLabel
from pipelines.evaluation.classification import decision_scores
from pipelines.transforms.augment import RandAugmentBatch

logger = logging.getLogger(__name__)


class ClassMetrics(Metric):
    """Loss, accuracy, balanced accuracy, precision, recall, F1 and AUROC, decided at 0.5.

    The loss is the plain cross-entropy, without weights and smoothing, so that training and
    validation compare; in a run's history it stands in the place of the loss that is minimised.

    Args:
        output_transform: Gives logits `(2,)` or `(B, 2)` and labels, a batch in lists.
        prefix: What the names of the results begin with, `"val_"` or `"train_"`.
    """

    def __init__(self, output_transform: Callable[..., Any], *, prefix: str) -> None:
        self.prefix = prefix
        super().__init__(output_transform, skip_unrolling=True)

    def reset(self) -> None:
        """Forget all images."""
        self._logits: list[Tensor] = []
        self._labels: list[Tensor] = []

    def update(self, output: tuple[Sequence[Tensor], Sequence[Any]]) -> None:
        """Add the images of one batch."""
        logits, labels = output
        self._logits += [torch.as_tensor(item).detach().float().cpu().reshape(-1, 2) for item in logits]
        self._labels += [torch.as_tensor(item).cpu().reshape(-1) for item in labels]

    def completed(self, engine: Engine, name: str) -> None:
        """Add all scores to the engine's metrics; `name` is one of them, the one that MONAI compares."""
        engine.state.metrics.update(self.compute())

    def compute(self) -> dict[str, float]:
        """Scores over all images; what is not defined, as AUROC of one class, is NaN."""
        # Where several processes train, each has seen a share of the images.
        logits = evenly_divisible_all_gather(torch.cat(self._logits))
        labels = evenly_divisible_all_gather(torch.cat(self._labels).long())
        positive = logits.softmax(dim=1)[:, 1].numpy().astype(np.float64)
        truth = labels.numpy()
        scores = decision_scores(truth, positive >= 0.5)
        scores["auroc"] = float(roc_auc_score(truth, positive)) if len(np.unique(truth)) == 2 else np.nan
        scores["loss"] = float(F.cross_entropy(logits, labels))
        return {f"{self.prefix}{name}": value for name, value in scores.items()}


class VolumeMetrics(Metric):
    """Mean Dice and IoU per structure and the soft Dice loss, over whole volumes.

    A structure that is absent from both masks of a volume does not count in it, and
    one that is absent from the label does not count in the loss.
    Results are `val_dice_rv`, ..., `val_iou_lv` and `val_dice_loss`.

    Args:
        output_transform: Gives lists of predictions, probabilities and labels, each `(4, X, Y, Z)`
            with one channel a class; predictions and labels are one-hot.
    """

    def __init__(self, output_transform: Callable[..., Any]) -> None:
        super().__init__(output_transform, skip_unrolling=True)

    def reset(self) -> None:
        """Forget all volumes."""
        self._dice: list[Tensor] = []
        self._iou: list[Tensor] = []
        self._loss: list[Tensor] = []

    def update(self, output: tuple[Sequence[Tensor], Sequence[Tensor], Sequence[Tensor]]) -> None:
        """Add the volumes of one batch."""
        for prediction, probability, label in zip(*output, strict=True):
            both, total = _overlap(prediction, label)
            self._dice.append(2 * both / total)
            self._iou.append(both / (total - both))
            both, total = _overlap(probability, label)
            absent = torch.as_tensor(label)[1:].sum((1, 2, 3)) == 0
            self._loss.append((1 - 2 * both / total).masked_fill(absent, torch.nan))

    def compute(self) -> dict[str, float]:
        """Means over volumes; NaN where a structure is nowhere."""
        # Where several processes train, each has seen a share of the volumes.
        dice, iou, loss = (
            evenly_divisible_all_gather(torch.stack(values)) for values in (self._dice, self._iou, self._loss)
        )
        dice, iou = dice.nanmean(0), iou.nanmean(0)
        result = {f"val_dice_{LABEL_NAMES[label]}": float(dice[label - 1]) for label in FOREGROUND}
        result |= {f"val_iou_{LABEL_NAMES[label]}": float(iou[label - 1]) for label in FOREGROUND}
        return result | {"val_dice_loss": float(loss.nanmean())}


def _overlap(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Intersections and summed sizes of the foreground classes, each `(3,)`."""
    first, second = torch.as_tensor(first)[1:].float(), torch.as_tensor(second)[1:].float()
    axes = (1, 2, 3)
    return (first * second).sum(axes), first.sum(axes) + second.sum(axes)


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
            title = f"val/{name}: truth left, prediction right"
            writer.add_image(title, picture, epoch, dataformats="HWC")
            writer.add_scalar(f"val/dice of the {name} case", dice, epoch)
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


HISTORY_NAME = "history.csv"
LOG_NAME = "training.log"


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
        pictures: VolumePictures | None = None,
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
            self._rows = read_csv(path)

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
                part, _, score = name.partition("_")
                tag = f"{part}/{score}" if part in ("train", "val") else f"train/{name}"
                self.writer.add_scalar(tag, value, epoch)
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


class PrepareTrainingBatch:
    """Move a batch to the device, augment it there, and lay it out channels last.

    Args:
        augment: Transform of the whole batch; keeps `image` and `label`.
    """

    def __init__(self, augment: Callable[[dict[str, Tensor]], Any]) -> None:
        self.augment = augment

    def __call__(
        self,
        batchdata: dict[str, Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor]:
        """Image `(B, C, h, w)` float32, channels last, and label `(B, ...)` int64."""
        moved = {
            key: value.to(device, non_blocking=non_blocking)
            for key, value in batchdata.items()
            if isinstance(value, Tensor)
        }
        batch = self.augment(moved)
        # MONAI's transforms may give its own tensor type, whose bookkeeping slows each operation down.
        image = batch["image"].as_subclass(Tensor)
        return image.contiguous(memory_format=torch.channels_last), batch["label"]


DECAY_EXPONENT = 0.9
"""Exponent of the polynomial decay, as in nnU-Net (doi:10.1038/s41592-020-01008-z)."""


class TimeBudget:
    """End training after a given time, with a validation of the weights at the end.

    The clock starts with the trainer, so that reading the data does not count, and
    is looked at after each iteration. Attach it after all that acts on an iteration.

    Args:
        seconds: Wall time of the training steps in s.
        evaluator: Runs once more at the end.
        clock: Gives the time in s.
    """

    def __init__(
        self, seconds: float, *, evaluator: Engine, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.seconds = seconds
        self.evaluator = evaluator
        self.clock = clock
        self._start: float | None = None

    @property
    def spent(self) -> float:
        """Share of the time that is over, 0 to 1; 0 before training starts."""
        if self._start is None:
            return 0.0
        return min(1.0, (self.clock() - self._start) / self.seconds)

    def attach(self, engine: Engine) -> None:
        """Watch the clock from the start of training."""
        engine.add_event_handler(Events.STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._stop_in_time)

    def _begin(self, engine: Engine) -> None:
        self._start = self.clock()

    def _stop_in_time(self, engine: Engine) -> None:
        engine.state.seconds_left = (1.0 - self.spent) * self.seconds
        if self.spent < 1.0:
            return
        self.evaluator.run(engine.state.epoch)
        # Ending the epoch, not the run, lets the handlers of a complete epoch save and record.
        engine.state.max_epochs = engine.state.epoch
        engine.terminate_epoch()


def timed_decay(optimizer: Optimizer, *, budget: TimeBudget, warmup: int = 100) -> LambdaLR:
    """Scheduler whose rate rises over iterations, then falls to zero with the time left.

    Args:
        optimizer: Its learning rates are the peak.
        budget: Tells how much of the time is over.
        warmup: Iterations of linear rise.
    """
    return LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / max(1, warmup)) * (1 - budget.spent) ** DECAY_EXPONENT
    )


STEP_PX: Final = 16
"""Patches grow by whole multiples of it, so that networks that halve them four times still fit."""


@dataclass(eq=False)
class PatchGrowth:
    """Train on small patches around the heart first, and on what inference sees at the end.

    Small patches train fastest; the surroundings tell a basal slice from the one above it.

    Args:
        augment: Cuts the patches; its size at the start is that of a factor of 1.
        stages: Pairs `(share, factor)` in order: from this share of the run on, 0 to 1, patches are
            `factor` times as large, to the nearest `STEP_PX`.
        budget: Says how much of the run is over, where the clock ends it and not the number of epochs.
    """

    augment: RandAugmentBatch
    stages: Sequence[Sequence[float]]
    budget: TimeBudget | None = None

    def __post_init__(self) -> None:
        self._size_px = self.augment.spatial_size

    def attach(self, engine: Engine) -> None:
        """Choose the size at the start of each epoch, so that a resumed run has the right one."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._choose)

    def _choose(self, engine: Engine) -> None:
        state = engine.state
        over = self.budget.spent if self.budget else (state.epoch - 1) / state.max_epochs
        factor = [factor for share, factor in self.stages if over >= share][-1]
        height, width = (
            length + STEP_PX * round((factor - 1) * length / STEP_PX) for length in self._size_px
        )
        self.augment.spatial_size = (height, width)


class EpochSeeder:
    """Seed torch from the run's seed and the epoch, so that a resumed run repeats the uninterrupted one.

    Args:
        seed: Seed of the run.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def attach(self, engine: Engine) -> None:
        """Seed at the start of each epoch, before the loader shuffles."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._seed)

    def _seed(self, engine: Engine) -> None:
        torch.manual_seed(self.seed * 100_003 + engine.state.epoch)


class GradientClipper:
    """Scale gradients down to a largest norm between the backward pass and the step.

    Args:
        network: Its parameters' gradients are clipped.
        max_norm: Largest Euclidean norm over all parameters.
    """

    def __init__(self, network: nn.Module, max_norm: float) -> None:
        self.network = network
        self.max_norm = max_norm

    def attach(self, engine: Engine) -> None:
        """Clip after each backward pass of a MONAI `SupervisedTrainer`."""
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self._clip)

    def _clip(self, engine: Engine) -> None:
        if engine.scaler is not None:
            engine.scaler.unscale_(engine.optimizer)
        nn.utils.clip_grad_norm_(self.network.parameters(), self.max_norm)


def averaged_copy(network: nn.Module, decay: float = 0.995) -> AveragedModel:
    """Exponential moving average of a network's weights and buffers.

    The decay warms up as `(1 + n) / (10 + n)`, so that the random start is
    forgotten also in short runs.

    Args:
        network: Network in training.
        decay: Weight of the past at each iteration; 0 makes a plain copy of the last weights.
    """

    def average(past: Tensor, present: Tensor, count: Tensor | int) -> Tensor:
        step = float(count)
        weight = min(decay, (1 + step) / (10 + step))
        return (past * weight).add_(present * (1 - weight))

    averaged = AveragedModel(network, avg_fn=average, use_buffers=True)
    averaged.eval()
    return averaged


class WeightAverager:
    """Update the averaged copy after each iteration.

    Args:
        averaged: As from `averaged_copy`.
        network: Network in training.
    """

    def __init__(self, averaged: AveragedModel, network: nn.Module) -> None:
        self.averaged = averaged
        self.network = network

    def attach(self, engine: Engine) -> None:
        """Average at the end of each iteration."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._update)

    def _update(self, engine: Engine) -> None:
        self.averaged.update_parameters(self.network)
