"""The clock ends a run and leads its learning rate."""

import pytest
import torch
from ignite.engine import Engine, Events

from pipelines.training.budget import TimeBudget, timed_decay


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
