"""Size of the training patches over a run."""

from ignite.engine import Engine, Events

from pipelines.transforms.augment import RandAugmentBatch

SMALL_PATCH_SHARE = 2 / 3
"""Share of the epochs with the smaller patches; the last third sees more of the surroundings."""


class PatchGrowth:
    """Train on small patches around the heart first, and on larger ones in the last third of the epochs.

    Args:
        augment: Cuts the patches.
        sizes_px: Patch size `(height, width)` of the first two thirds and of the last third, pixels.
    """

    def __init__(self, augment: RandAugmentBatch, sizes_px: list[list[int]]) -> None:
        self.augment = augment
        self.sizes_px = sizes_px

    def attach(self, engine: Engine) -> None:
        """Choose the size at the start of each epoch, so that a resumed run has the right one."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._choose)

    def _choose(self, engine: Engine) -> None:
        late = engine.state.epoch > SMALL_PATCH_SHARE * engine.state.max_epochs
        height, width = self.sizes_px[late]
        self.augment.spatial_size = (height, width)
