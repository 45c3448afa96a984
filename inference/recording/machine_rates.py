"""Measures what a forecast needs to know of this machine: how fast it reads and multiplies."""

import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

SAMPLE = 2**28  # bytes that are read to measure the disk, at most
PIECE = 2**24
SHORTEST_S = 0.1  # that a product is repeated for


def disk_rate(files: Sequence[Path], folder: Path) -> float:
    """Returns bytes per second of reading from disk, past what the system holds in memory.

    Args:
        files: to read a part of; without any, a file of 64 MB is written into `folder`.
        folder: exists.
    """
    if files:
        return _read_rate(max(files, key=lambda path: path.stat().st_size))
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".moescope-rate-") as file:
        for _ in range(4):
            file.write(os.urandom(PIECE))
        file.flush()
        os.fsync(file.fileno())
        return _read_rate(Path(file.name))


def _read_rate(path: Path) -> float:
    size = min(path.stat().st_size, SAMPLE)
    with path.open("rb", buffering=0) as file:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, size, os.POSIX_FADV_DONTNEED)
        start, done = time.perf_counter(), 0
        while done < size and (piece := file.read(PIECE)):
            done += len(piece)
        return done / max(time.perf_counter() - start, 1e-6)


@torch.inference_mode()
def matmul_rate(rows: int, inner: int, columns: int, dtype: torch.dtype, device: str) -> float:
    """Returns operations per second of a product (rows, inner) x (inner, columns)."""
    left = torch.randn(rows, inner, device=device).to(dtype)
    right = torch.randn(columns, inner, device=device).to(dtype)
    count, start = 0, 0.0
    while count == 0 or time.perf_counter() - start < SHORTEST_S:
        torch.nn.functional.linear(left, right)
        if device != "cpu":
            torch.cuda.synchronize()
        if count == 0 and start == 0.0:  # the first one warms up
            start = time.perf_counter()
            continue
        count += 1
    return 2.0 * rows * inner * columns * count / (time.perf_counter() - start)
