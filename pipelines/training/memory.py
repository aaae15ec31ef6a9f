"""Process settings that make training on a CPU faster."""

import ctypes
import platform

import torch

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
LARGEST_MMAP_THRESHOLD = 32 << 20
"""What glibc accepts at most on 64-bit systems, bytes; larger blocks are still mapped one by one."""

KEPT_BYTES = 1 << 30
"""Free memory at the top of the heap that is not given back, bytes."""


def tune_process() -> None:
    """Keep freed memory in the process and treat denormal floats as zero.

    By default glibc gives each large tensor back to the system as soon as it is
    freed and asks for it again in the next iteration, which costs page faults;
    denormals slow arithmetic down many times. Neither changes results beyond
    rounding at 1e-38. On other C libraries only the second takes effect.

    References:
        mallopt(3), Linux man-pages; PyTorch performance tuning guide, CPU section.
    """
    torch.set_flush_denormal(True)
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
        libc.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
