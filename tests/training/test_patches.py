"""Patches grow over a run."""

import torch
from ignite.engine import Engine, Events
from small_cohort import NARROW

from pipelines.models.bundle import load_config
from pipelines.training.budget import TimeBudget
from pipelines.training.patches import PatchGrowth
from pipelines.transforms.augment import RandAugmentBatch

STAGES = [[0, 1], [0.5, 1.5], [0.9, 2]]


def sizes(*, epochs: int, first: int = 0, budget: TimeBudget | None = None) -> list[tuple[int, int]]:
    """Patch size of each epoch of a run that starts after `first` epochs."""
    augment = RandAugmentBatch((96, 80))
    engine = Engine(lambda engine, batch: None)
    seen: list[tuple[int, int]] = []
    engine.add_event_handler(
        Events.STARTED, lambda: setattr(engine.state, "epoch", max(engine.state.epoch, first))
    )
    PatchGrowth(augment, STAGES, budget).attach(engine)
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: seen.append(augment.spatial_size))
    engine.run([0], max_epochs=epochs)
    return seen


def test_patches_have_the_size_of_their_stage_in_each_epoch() -> None:
    assert sizes(epochs=10) == [(96, 80)] * 5 + [(144, 112)] * 4 + [(192, 160)]


def test_a_resumed_run_has_the_size_of_its_epoch() -> None:
    assert sizes(epochs=10, first=8) == [(144, 112), (192, 160)]


def test_where_the_clock_ends_the_run_it_decides() -> None:
    now = [0.0]
    budget = TimeBudget(10, evaluator=Engine(lambda engine, batch: None), clock=lambda: now[0])
    budget._begin(Engine(lambda engine, batch: None))
    assert sizes(epochs=1, budget=budget) == [(96, 80)]
    now[0] = 6.0
    assert sizes(epochs=1, budget=budget) == [(144, 112)]


def test_larger_patches_fit_a_network_that_the_first_ones_fit() -> None:
    halved_four_times = load_config("unet", **NARROW["unet"]).get_parsed_content("network_def").eval()
    for height, width in set(sizes(epochs=10)):
        assert halved_four_times(torch.zeros(1, 3, height, width)).shape == (1, 4, height, width)
