"""Training by the clock: stops when the time is up, with a learning rate that follows the time left."""

import time
from collections.abc import Callable

from ignite.engine import Engine, Events
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

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
