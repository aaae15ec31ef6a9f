import pytest
import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedTrainer
from torch import nn

from pipelines.training.handlers import EpochSeeder, GradientClipper, WeightAverager, averaged_copy


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
