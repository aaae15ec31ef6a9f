"""Threads and memory of a process that trains on a CPU."""

import ctypes
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from ignite.engine import Engine, Events
from torch import nn

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
LARGEST_MMAP_THRESHOLD = 32 << 20
"""What glibc accepts at most on 64-bit systems, bytes; larger blocks are still mapped one by one."""

KEPT_BYTES = 1 << 30
"""Free memory at the top of the heap that is not given back, bytes."""


def keep_freed_memory() -> None:
    """Keep freed memory in the process for the next iteration.

    By default glibc gives each large tensor back to the system as soon as it is
    freed and asks for it again in the next iteration, which costs page faults.
    On other C libraries nothing happens.

    References:
        mallopt(3), Linux man-pages.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
        libc.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Treat denormal floats as zero within the block: they slow arithmetic down many times.

    It changes results by at most 1e-38, but must not outlast the training:
    SciPy's `KDTree`, with which surface distances are measured, then recurses
    without end on points that coincide along an axis, and crashes the process.

    References:
        PyTorch performance tuning guide, CPU section.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


ROUNDS = 4
"""Turns of each thread count in a trial, which takes a few tenths of a second."""


def fastest_thread_count(
    most: int,
    work: Callable[[], object] | None = None,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> int:
    """Either `most` or 1, whichever number of torch threads works faster now.

    Threads wait for one another at the end of each layer. On a shared machine, or in
    a container with less CPU time than cores, that can make two slower than one.

    Args:
        most: Largest number of threads.
        work: What is timed; by default a small convolution forward and backward.
        clock: Gives the time in s.
    """
    if most == 1:
        return 1
    work = work or _convolution()
    spent = {most: 0.0, 1: 0.0}
    for _ in range(ROUNDS):
        for count in spent:
            with torch_threads(count):
                start = clock()
                work()
                spent[count] += clock() - start
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


class ThreadChooser:
    """Change between all threads and one during training, as the load of the machine changes.

    Args:
        every: Iterations between trials.
        choose: Gives the better number, up to the one it gets.
    """

    def __init__(self, every: int = 20, choose: Callable[[int], int] = fastest_thread_count) -> None:
        self.every = every
        self.choose = choose
        self._most = torch.get_num_threads()

    def attach(self, engine: Engine) -> None:
        """Try before the first iteration and then regularly; leave all threads at the end."""
        engine.add_event_handler(Events.STARTED, lambda: torch.set_num_threads(self.choose(self._most)))
        engine.add_event_handler(
            Events.ITERATION_COMPLETED(every=self.every),
            lambda: torch.set_num_threads(self.choose(self._most)),
        )
        engine.add_event_handler(Events.COMPLETED, lambda: torch.set_num_threads(self._most))


def _convolution() -> Callable[[], object]:
    layers = nn.Sequential(nn.Conv2d(24, 24, 3, padding=1), nn.BatchNorm2d(24), nn.LeakyReLU())
    layers = layers.to(memory_format=torch.channels_last)
    image = torch.rand(6, 24, 128, 128).to(memory_format=torch.channels_last)
    return lambda: layers(image).sum().backward()
