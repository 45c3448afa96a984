"""The baseline that a masked model must beat: guessing by token frequency alone."""

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
from datasets import load_from_disk
from numpy.typing import NDArray

from data_processors.masking import MaskKind

LABELLED = (MaskKind.MASKED, MaskKind.REPLACED, MaskKind.KEPT)


def unigram_entropy(folder: Path, vocab_size: int, special_ids: Collection[int]) -> float:
    """Cross-entropy of the validation labels under the training split's token frequencies.

    Add-one smoothing over the types that are not special: -mean log((c_t + 1) / (N + V)).

    Args:
        folder: what the mask stage wrote.
        vocab_size: number of types, special ones included.
        special_ids: types that are never predicted.

    Returns:
        Nats per label.
    """
    counts = np.zeros(vocab_size, np.int64)
    for (ids,) in column_values(folder / "train", "input_ids"):
        counts += np.bincount(ids, minlength=vocab_size)
    counts[list(special_ids)] = 0
    labels = np.zeros(vocab_size, np.int64)
    for ids, kinds in column_values(folder / "validation", "input_ids", "mask_kind"):
        labels += np.bincount(ids[np.isin(kinds, LABELLED)], minlength=vocab_size)
    num_types = vocab_size - len(set(special_ids))
    log_probabilities = np.log((counts + 1) / (counts.sum() + num_types))
    return float(-(labels @ log_probabilities) / max(labels.sum(), 1))


def column_values(split: Path, *names: str) -> Iterator[tuple[NDArray[np.integer], ...]]:
    """Yields the flat values of list columns, chunk by chunk of the memory map."""
    table = load_from_disk(str(split)).data.table
    for batch in table.select(list(names)).to_batches():
        yield tuple(column.flatten().to_numpy() for column in batch.columns)
