"""A run that several processes train together: who writes, and what they agree on.

All of it needs an initialised process group, as `torchrun` and Ray Train make it.
"""

from collections.abc import Sequence
from typing import TypeVar

import torch
import torch.distributed as dist
from ignite.engine import Engine, Events

from pipelines.core.errors import ConfigError
from pipelines.models.checkpoints import RunCheckpoint
from pipelines.training.handlers import WeightAverager
from pipelines.training.memory import flushed_denormals
from pipelines.training.monitor import TrainingMonitor

Item = TypeVar("Item")


def share(items: Sequence[Item]) -> list[Item]:
    """This process's share of what is validated: every n-th of n processes.

    Metrics gather the shares, so that each process has the figures of all items.

    Raises:
        ConfigError: If there are fewer items than processes.
    """
    rank, processes = dist.get_rank(), dist.get_world_size()
    if len(items) < processes:
        raise ConfigError(
            f"expected at least one validation item for each of {processes} processes, found {len(items)}; "
            "use fewer processes"
        )
    return list(items[rank::processes])


def follow(trainer: Engine) -> None:
    """Train beside the first process, which runs `pipelines.training.run.train`, and write nothing."""
    with flushed_denormals():
        trainer.run()


class RankCheckpoint(RunCheckpoint):
    """`RunCheckpoint` of which only the first process writes and decides when to stop.

    All processes load the same states when they resume. The first one tells the
    others to stop after an epoch, since a process that stops alone would leave
    the rest waiting for its gradients.
    """

    def _compare(self, evaluator: Engine) -> None:
        if dist.get_rank() == 0:
            super()._compare(evaluator)

    def _save(self, engine: Engine) -> None:
        if dist.get_rank() == 0:
            super()._save(engine)
        stop = torch.tensor([int(engine.should_terminate)], device=engine.state.device)
        dist.broadcast(stop, src=0)
        if stop.item():
            engine.terminate()


class RankMonitor(TrainingMonitor):
    """`TrainingMonitor` of the mean loss over all processes, which only the first one writes."""

    def _start(self, engine: Engine) -> None:
        if dist.get_rank() == 0:
            super()._start(engine)

    def _write_epoch(self, engine: Engine) -> None:
        sums = torch.tensor([self._loss_sum, float(self._batches)], device=engine.state.device)
        dist.all_reduce(sums)
        self._loss_sum, self._batches = float(sums[0]), int(sums[1])
        if dist.get_rank() == 0:
            super()._write_epoch(engine)
            return
        self._loss_sum, self._batches, self._metrics = 0.0, 0, {}
        if self._pictures is not None:
            self._pictures.forget()


class RankWeightAverager(WeightAverager):
    """`WeightAverager` that evens out batch norms' statistics over the processes after each epoch.

    Each process has seen other batches. Without this, shares of the validation
    would be segmented by slightly different networks. Attach it before validation.
    """

    def attach(self, engine: Engine) -> None:
        """Average at the end of each iteration, agree at the end of each epoch."""
        super().attach(engine)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._agree)

    def _agree(self, engine: Engine) -> None:
        for buffer in self.averaged.module.buffers():
            if buffer.is_floating_point():
                dist.all_reduce(buffer)
                buffer /= dist.get_world_size()
