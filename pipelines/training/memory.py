"""Process settings that make training on a CPU faster."""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch

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
