"""The C library's allocator, set up for training on CPU."""

import ctypes
import os
import sys
from typing import Any

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
    mallopt = _of_glibc("mallopt")
    if mallopt is None:
        return
    mallopt(M_MMAP_THRESHOLD, LARGEST_INT)
    mallopt(M_TRIM_THRESHOLD, LARGEST_INT)
    mallopt(M_TOP_PAD, 64 * 2**20)


def keep_few_kernels() -> None:
    """Lets oneDNN keep 256 of its compiled products instead of 1,024, each about 0.3 MB.

    Experts get another number of tokens in every batch, and it keeps a product for each. Call
    before the first product.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256")


def return_freed_memory() -> None:
    """Gives what was freed back to the system, where the C library is glibc."""
    trim = _of_glibc("malloc_trim")
    if trim is not None:
        trim(0)


def _of_glibc(name: str) -> Any:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
