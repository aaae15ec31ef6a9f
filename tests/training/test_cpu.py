from collections.abc import Iterator

import pytest
import torch
from ignite.engine import Engine

from pipelines.training.optimisation import (
    ThreadChooser,
    fastest_thread_count,
    flushed_denormals,
    keep_freed_memory,
    torch_threads,
)

DENORMAL = 1e-40


def halved() -> float:
    return (torch.tensor([DENORMAL * 2]) * torch.tensor([0.5])).item()


def test_denormals_are_zero_within_the_block_alone() -> None:
    assert halved() > 0
    with flushed_denormals():
        assert halved() == 0
    assert halved() > 0


def test_denormals_are_back_after_an_interrupted_block() -> None:
    def interrupted() -> None:
        with flushed_denormals():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert halved() > 0


def test_memory_that_is_kept_can_be_used_again() -> None:
    keep_freed_memory()
    assert torch.ones(1 << 22).sum().item() == 1 << 22


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(("seconds", "fastest"), [({1: 1.0, 2: 0.6}, 2), ({1: 1.0, 2: 3.0}, 1)])
def test_the_count_that_takes_less_time_is_chosen(seconds: dict[int, float], fastest: int) -> None:
    now = [0.0]

    def work() -> None:
        now[0] += seconds[torch.get_num_threads()]

    assert fastest_thread_count(2, work, clock=lambda: now[0]) == fastest
    assert torch.get_num_threads() == 2


def test_a_single_thread_needs_no_trial() -> None:
    assert fastest_thread_count(1, lambda: pytest.fail("was tried")) == 1


@pytest.mark.usefixtures("two_threads")
def test_the_trial_runs_by_itself() -> None:
    assert fastest_thread_count(2) in (1, 2)


@pytest.mark.usefixtures("two_threads")
def test_threads_are_as_before_after_the_block_also_when_it_fails() -> None:
    def fail() -> None:
        with torch_threads(1):
            assert torch.get_num_threads() == 1
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_training_changes_its_threads_as_the_better_number_changes_and_gives_them_back() -> None:
    used: list[int] = []
    choices = iter([2, 1, 2])
    trainer = Engine(lambda engine, batch: used.append(torch.get_num_threads()))
    ThreadChooser(every=2, choose=lambda most: next(choices) if most == 2 else 0).attach(trainer)
    trainer.run([0] * 4, max_epochs=1)
    assert used == [2, 2, 1, 1]
    assert torch.get_num_threads() == 2
