"""Parts of the training loop: batches, patch sizes, the clock, seeds, clipping and averaged weights."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from ignite.engine import Engine, Events
from monai.engines.utils import IterationEvents
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from pipelines.transforms.augment import RandAugmentBatch


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


class PatchGrowth:
    """Train on small patches around the heart first, and on what inference sees at the end.

    Small patches train fastest; the surroundings tell a basal slice from the one above it.

    Args:
        augment: Cuts the patches; its size at the start is that of a factor of 1.
        stages: Pairs `(share, factor)` in order: from this share of the run on, 0 to 1, patches are
            `factor` times as large, to the nearest `STEP_PX`.
        budget: Says how much of the run is over, where the clock ends it and not the number of epochs.
    """

    def __init__(
        self,
        augment: RandAugmentBatch,
        stages: Sequence[Sequence[float]],
        budget: TimeBudget | None = None,
    ) -> None:
        self.augment = augment
        self.stages = stages
        self.budget = budget
        self._size_px = augment.spatial_size

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
