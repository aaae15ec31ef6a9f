"""Checkpoints of a run that several processes train together."""

import torch
import torch.distributed as dist
from ignite.engine import Engine

from pipelines.training.checkpoints import RunCheckpoint


class RankCheckpoint(RunCheckpoint):
    """`RunCheckpoint` of which only the first process writes and decides when to stop.

    All processes load the same states when they resume. The first one tells the
    others to stop after an epoch, since a process that stops alone would leave
    the rest waiting for its gradients. Needs an initialised process group.
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
