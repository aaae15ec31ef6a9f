"""Size of the training patches over a run."""

from collections.abc import Sequence
from typing import Final

from ignite.engine import Engine, Events

from pipelines.training.budget import TimeBudget
from pipelines.transforms.augment import RandAugmentBatch

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
