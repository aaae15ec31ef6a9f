import pytest
import torch

from pipelines.training.memory import flushed_denormals, keep_freed_memory

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
