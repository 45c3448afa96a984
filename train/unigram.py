"""The baseline that a model must beat, guessing by token frequency alone; tokens per byte."""

from collections.abc import Callable, Collection, Sequence

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datasets import load_from_disk
from torch import Tensor

from ..data_processors.examples import ExampleDataset, Row

EXAMPLES_AT_ONCE = 512


def unigram_entropy(
    train: ExampleDataset,
    validation: ExampleDataset,
    collate: Callable[[Sequence[Row]], dict[str, Tensor]],
    vocab_size: int,
    special_ids: Collection[int],
) -> float:
    """Cross-entropy of the validation labels under the training split's token frequencies.

    Add-one smoothing over the types that may be labels: -mean log((c_t + 1) / (N + V)).

    Args:
        train: the training split, whose uncorrupted tokens are counted.
        validation: the split whose labels are guessed.
        collate: what makes its labels.
        vocab_size: number of types, special ones included.
        special_ids: types that are no labels, but for the one that ends a document in blocks.

    Returns:
        Nats per label.
    """
    labels = np.zeros(vocab_size, np.int64)
    for start in range(0, len(validation), EXAMPLES_AT_ONCE):
        rows = range(start, min(start + EXAMPLES_AT_ONCE, len(validation)))
        ids = collate(validation.__getitems__(list(rows)))["labels"].numpy()
        labels += np.bincount(ids[ids >= 0], minlength=vocab_size)
    counts = np.zeros(vocab_size, np.int64)
    table = load_from_disk(str(train.folder / train.split)).data.table
    for chunk in table.column("input_ids").chunks:
        counts += np.bincount(chunk.flatten().to_numpy(), minlength=vocab_size)
    never = np.array([token for token in special_ids if not labels[token]], np.int64)
    counts[never] = 0
    log_probabilities = np.log((counts + 1) / (counts.sum() + vocab_size - len(never)))
    return float(-(labels @ log_probabilities) / max(labels.sum(), 1))


def tokens_per_byte(split: ExampleDataset) -> float:
    """Content tokens of a split over the bytes of its documents' texts (UTF-8)."""
    path = split.folder / f"documents-{split.split}.parquet"
    documents = pq.read_table(path, columns=["num_tokens", "num_bytes"])
    tokens, size = (pc.sum(documents[name]).as_py() for name in documents.column_names)
    return tokens / size
