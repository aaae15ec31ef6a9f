import pytest
import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedTrainer
from small_cohort import NARROW
from torch import nn

from pipelines.models.bundle import load_config
from pipelines.training.handlers import (
    EpochSeeder,
    GradientClipper,
    PatchGrowth,
    PrepareTrainingBatch,
    TimeBudget,
    WeightAverager,
    averaged_copy,
    timed_decay,
)
from pipelines.transforms.augment import RandAugmentBatch, RandAugmentBatchd


def test_a_batch_is_augmented_and_laid_out_channels_last() -> None:
    prepare = PrepareTrainingBatch(RandAugmentBatchd(RandAugmentBatch((16, 20))))
    batch = {
        "image": torch.rand(2, 3, 24, 24).half(),
        "label": torch.zeros(2, 1, 24, 24, dtype=torch.uint8),
        "center": torch.zeros(2, 2),
        "patient": ["a", "b"],
    }
    image, label = prepare(batch, torch.device("cpu"), non_blocking=True)
    assert (image.shape, image.dtype) == ((2, 3, 16, 20), torch.float32)
    assert (label.shape, label.dtype) == ((2, 1, 16, 20), torch.int64)
    assert image.is_contiguous(memory_format=torch.channels_last)


def test_the_batch_moves_before_it_is_augmented() -> None:
    seen: list[str] = []

    class Augment(RandAugmentBatchd):
        def __call__(self, batch):  # type: ignore[no-untyped-def]
            seen.extend(value.device.type for value in batch.values())
            return {"image": torch.zeros(1, 1, 2, 2), "label": torch.zeros(1, 1, 2, 2)}

    prepare = PrepareTrainingBatch(Augment(RandAugmentBatch((2, 2))))
    prepare({"image": torch.zeros(1), "label": torch.zeros(1)}, torch.device("meta"))
    assert seen == ["meta", "meta"]


class Clock:
    """A clock that is set by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def make_trainer(clock: Clock, seconds_a_step: float) -> Engine:
    def step(engine: Engine, batch: int) -> None:
        clock.now += seconds_a_step

    return Engine(step)


def test_training_stops_after_the_iteration_in_which_the_time_is_up(clock: Clock) -> None:
    trainer, evaluator = make_trainer(clock, 1.0), Engine(lambda engine, batch: None)
    evaluator.run = lambda epoch: validated.append(epoch)  # type: ignore[method-assign]
    validated: list[int] = []
    completed: list[int] = []
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: completed.append(engine.state.iteration))
    TimeBudget(7.0, evaluator=evaluator, clock=clock).attach(trainer)
    trainer.run([0] * 5, max_epochs=100)
    assert trainer.state.iteration == 7
    assert trainer.state.seconds_left == 0.0  # type: ignore[attr-defined]
    assert completed == [5, 7]  # the broken-off epoch still counts as one, for checkpoints and history
    assert validated == [2]


def test_time_before_training_starts_is_not_spent(clock: Clock) -> None:
    trainer = make_trainer(clock, 1.0)
    budget = TimeBudget(10.0, evaluator=Engine(lambda engine, batch: None), clock=clock)
    budget.attach(trainer)
    clock.now += 50
    assert budget.spent == 0.0
    trainer.run([0] * 2, max_epochs=1)
    assert budget.spent == pytest.approx(0.2)
    clock.now += 50
    assert budget.spent == 1.0


def test_learning_rate_rises_over_the_warm_up_and_reaches_zero_with_the_end_of_the_time(clock: Clock) -> None:
    trainer = make_trainer(clock, 1.0)
    budget = TimeBudget(10.0, evaluator=Engine(lambda engine, batch: None), clock=clock)
    budget.attach(trainer)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = timed_decay(optimizer, budget=budget, warmup=4)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(2.0 * 0.25)
    trainer.run([0], max_epochs=1)
    rates = []
    for now in (101.0, 102.0, 105.0, 109.0, 110.0):
        clock.now = now
        optimizer.step()
        scheduler.step()
        rates.append(optimizer.param_groups[0]["lr"])
    # 0.9, 0.8, 0.5, 0.1 and none of the time left, each to the power of 0.9
    assert rates == pytest.approx([0.9095, 1.2271, 1.0718, 0.2518, 0.0], abs=1e-3)


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


def linear(weight: float) -> nn.Linear:
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, weight)
    return layer


def draws(seed: int, epochs: int, first: int = 0) -> list[float]:
    found: list[float] = []
    engine = Engine(lambda engine, batch: None)
    EpochSeeder(seed).attach(engine)
    engine.add_event_handler(Events.EPOCH_STARTED, lambda _: found.append(torch.rand(()).item()))
    engine.add_event_handler(Events.STARTED, lambda engine: setattr(engine.state, "epoch", first))
    engine.run([0], max_epochs=epochs)
    return found


def test_each_epoch_draws_its_own_numbers_whichever_the_run_began_with() -> None:
    whole = draws(seed=0, epochs=4)
    assert len(set(whole)) == 4
    torch.rand(5)
    assert draws(seed=0, epochs=4, first=2) == whole[2:]
    assert not set(draws(seed=1, epochs=4)) & set(whole)


@pytest.mark.parametrize(("max_norm", "step"), [(0.5, 0.5), (1000.0, 20.0)])
def test_gradients_beyond_the_norm_are_scaled_down_before_the_step(max_norm: float, step: float) -> None:
    network = linear(0.0)
    SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=[{"image": torch.ones(1, 1), "label": torch.full((1, 1), 10.0)}],
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=1.0),
        loss_function=nn.MSELoss(),  # its gradient is -2 * 10
        train_handlers=[GradientClipper(network, max_norm)],
    ).run()
    assert network.weight.item() == pytest.approx(step, rel=1e-4)


def test_the_average_follows_its_formula() -> None:
    network = linear(1.0)
    averaged = averaged_copy(network, decay=0.995)
    averaged.update_parameters(network)
    assert averaged.module.weight.item() == 1.0
    nn.init.constant_(network.weight, 2.0)
    averaged.update_parameters(network)  # weight of the past (1 + 1) / (10 + 1)
    assert averaged.module.weight.item() == pytest.approx(2 / 11 + 2 * 9 / 11)
    assert network.weight.item() == 2.0


def test_the_weight_of_the_past_grows_to_the_decay() -> None:
    network = linear(0.0)
    averaged = averaged_copy(network, decay=0.5)
    averaged.n_averaged.fill_(1000)
    nn.init.constant_(averaged.module.weight, 8.0)
    averaged.update_parameters(network)
    assert averaged.module.weight.item() == 4.0


def test_a_decay_of_zero_copies_the_last_weights() -> None:
    network = linear(1.0)
    averaged = averaged_copy(network, decay=0)
    for value in (3.0, 5.0):
        nn.init.constant_(network.weight, value)
        averaged.update_parameters(network)
    assert averaged.module.weight.item() == 5.0


def test_running_statistics_are_averaged_too() -> None:
    network = nn.BatchNorm1d(1)
    averaged = averaged_copy(network)
    averaged.update_parameters(network)
    network.running_mean.fill_(11.0)
    averaged.update_parameters(network)
    assert averaged.module.running_mean.item() == pytest.approx(9.0)


def test_the_average_is_taken_after_each_iteration() -> None:
    network = linear(0.0)
    averaged = averaged_copy(network, decay=0)
    engine = Engine(lambda engine, batch: nn.init.constant_(network.weight, float(batch)))
    seen: list[float] = []
    WeightAverager(averaged, network).attach(engine)
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda _: seen.append(averaged.module.weight.item()))
    engine.run([4, 6])
    assert seen == [4.0, 6.0]
    assert averaged.n_averaged == 2
