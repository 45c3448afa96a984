"""Divides a split into chunks of whole documents, and orders their examples by length."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from datasets import load_from_disk

MIN_EXAMPLES = 1024  # per chunk: enough to sort by length, few enough to stay small


@dataclass(frozen=True)
class Chunk:
    """Consecutive examples that hold whole documents only.

    Attributes:
        examples: rows of the split, shortest first.
        first_document: the documents are `first_document` … `last_document`.
    """

    examples: np.ndarray
    first_document: int
    last_document: int


def iterate_chunks(split_dir: Path, lengths: np.ndarray, min_examples: int) -> Iterator[Chunk]:
    """Yields the chunks of a split in order, each with at least `min_examples` and few more."""
    first, last = _document_ranges(_table(split_dir).column("documents"))
    ends = np.minimum.accumulate(first[::-1])[::-1]
    # a chunk may end after example i if no later example goes back to a document up to there
    closed = np.append(np.maximum.accumulate(last)[:-1] < ends[1:], True)
    cuts = np.flatnonzero(closed) + 1
    start = 0
    while start < len(first):
        stop = int(cuts[np.searchsorted(cuts, min(start + min_examples, len(first)))])
        rows = np.arange(start, stop)
        yield Chunk(
            rows[np.argsort(lengths[start:stop], kind="stable")],
            int(first[start:stop].min()),
            int(last[start:stop].max()),
        )
        start = stop


def examples_of(split_dir: Path, documents: np.ndarray) -> np.ndarray:
    """Returns the rows of the examples that hold a token of the documents; (D,) bool."""
    parts = [
        np.logical_or.reduceat(documents[chunk.values.to_numpy()], chunk.offsets.to_numpy()[:-1])
        for chunk in _table(split_dir).column("documents").chunks
        if len(chunk)
    ]
    return np.flatnonzero(np.concatenate(parts))


def count_ids(split_dir: Path, vocab_size: int) -> np.ndarray:
    """Counts every uncorrupted token id of a split, (vocab_size,) int64, from the mapped file."""
    counts = np.zeros(vocab_size, dtype=np.int64)
    for chunk in _table(split_dir).column("input_ids").chunks:
        counts += np.bincount(chunk.flatten().to_numpy(), minlength=vocab_size)
    return counts


def _table(split_dir: Path) -> pa.Table:
    return load_from_disk(str(split_dir)).data.table


def _document_ranges(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the smallest and the largest document of each example."""
    firsts, lasts = [], []
    for chunk in column.chunks:
        starts = chunk.offsets.to_numpy()[:-1]
        values = chunk.values.to_numpy()[: chunk.offsets[-1].as_py()]
        if len(starts):
            firsts.append(np.minimum.reduceat(values, starts))
            lasts.append(np.maximum.reduceat(values, starts))
    return np.concatenate(firsts), np.concatenate(lasts)
