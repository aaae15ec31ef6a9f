"""How many CPU threads are worth having: fewer than there are cores where others use these cores too."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

ROUNDS = 12
"""Turns of each thread count; together they take about a second."""


def fastest_thread_count(
    work: Callable[[], object] | None = None, *, clock: Callable[[], float] = time.perf_counter
) -> int:
    """Either the present number of torch threads or 1, whichever works faster now.

    Threads wait for one another at the end of each layer. On a shared machine, or in
    a container with less CPU time than cores, that can make two slower than one.

    Args:
        work: What is timed; by default a small convolution forward and backward.
        clock: Gives the time in s.
    """
    present = torch.get_num_threads()
    if present == 1:
        return 1
    work = work or _convolution()
    spent = {present: 0.0, 1: 0.0}
    try:
        for _ in range(ROUNDS):
            for count in spent:
                torch.set_num_threads(count)
                start = clock()
                work()
                spent[count] += clock() - start
    finally:
        torch.set_num_threads(present)
    return min(spent, key=lambda count: spent[count])


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch use so many CPU threads within the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _convolution() -> Callable[[], object]:
    layers = nn.Sequential(nn.Conv2d(24, 24, 3, padding=1), nn.BatchNorm2d(24), nn.LeakyReLU())
    layers = layers.to(memory_format=torch.channels_last)
    image = torch.rand(6, 24, 128, 128).to(memory_format=torch.channels_last)
    return lambda: layers(image).sum().backward()
