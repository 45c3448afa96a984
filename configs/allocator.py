"""The C library's allocator, set up for training on CPU."""

import ctypes
import sys

# <malloc.h> of glibc
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
LARGEST_INT = 2**31 - 1


def keep_freed_memory() -> None:
    """Lets glibc hand freed blocks out again instead of returning them to the system.

    By default each large tensor is mapped afresh and unmapped when freed, so a training step pays
    a page fault, and the kernel clears a page, for every 4 KiB of activation and gradient. The
    price: a process keeps its peak memory until it ends. Call before the first large tensor; does
    nothing where the C library is another.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    mallopt(M_MMAP_THRESHOLD, LARGEST_INT)
    mallopt(M_TRIM_THRESHOLD, LARGEST_INT)
    mallopt(M_TOP_PAD, 64 * 2**20)
