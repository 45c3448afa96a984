"""Collation: rows of an `ExampleDataset` become one padded, masked batch."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from configs.schema_dataset import Masking

from .examples import Row
from .masking import Batch, MaskKind, mask_batch
from .tokenizers import TokenizerFacts

IGNORED = -100  # label of positions without a loss (torch's cross entropy)


class MaskingCollator:
    """Masks and pads; picklable, without state of its own.

    Rows that carry fixed masks (`corrupted_ids`, `mask_kind`) keep them; others get the mask
    of (seed, row["epoch"], row["example_id"]).
    """

    def __init__(self, facts: TokenizerFacts, masking: Masking, seed: int) -> None:
        self.facts, self.masking, self.seed = facts, masking, seed

    def __call__(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """Returns the tensors of docs/contracts.md (int64, B rows padded to the longest).

        Padding: `segment_ids` repeat the row's last segment, so that no query is left without
        a key; `position_ids` are 0.
        """
        lengths = np.array([len(row["input_ids"]) for row in rows])
        input_ids = _flat(rows, "input_ids")
        if "mask_kind" in rows[0]:
            corrupted, kinds = _flat(rows, "corrupted_ids"), _flat(rows, "mask_kind")
        else:
            corrupted, kinds = self._mask(rows, input_ids, lengths)
        # flat (N,) → (B, S): tokens of a row fill its places from the left
        width = lengths.max()
        filled = np.arange(width) < lengths[:, None]
        labels = np.where(_is_label(kinds), input_ids, IGNORED)
        segments = _flat(rows, "segment_ids") if "segment_ids" in rows[0] else None
        batch = {
            "input_ids": _padded(corrupted, filled, self.facts.pad_token_id),
            "attention_mask": filled.astype(np.int64),
            "labels": _padded(labels, filled, IGNORED),
            "mask_kind": _padded(kinds, filled, -1),
            "document_ids": _padded(_document_ids(rows, lengths, segments), filled, -1),
        }
        batch["label_positions"] = np.flatnonzero(batch["labels"] != IGNORED)
        if segments is not None:
            ends = np.cumsum(lengths)
            batch["segment_ids"] = _padded(segments, filled, segments[ends - 1][:, None])
            batch["position_ids"] = _padded(_positions(segments, lengths), filled, 0)
        return {name: torch.from_numpy(values) for name, values in batch.items()}

    def _mask(
        self, rows: Sequence[Row], input_ids: NDArray[np.integer], lengths: NDArray[np.integer]
    ) -> tuple[NDArray[np.int32], NDArray[np.int8]]:
        batch = Batch(
            input_ids,
            _flat(rows, "word_ids"),
            lengths,
            np.array([row["example_id"] for row in rows]),
            np.array([row["epoch"] for row in rows]),
        )
        return mask_batch(batch, self.masking, self.facts, self.seed)


def _flat(rows: Sequence[Row], name: str) -> NDArray[np.integer]:
    return np.concatenate([row[name] for row in rows])


def _is_label(kinds: NDArray[np.integer]) -> NDArray[np.bool_]:
    return (kinds >= MaskKind.MASKED) & (kinds <= MaskKind.KEPT)


def _padded(
    values: NDArray[np.integer], filled: NDArray[np.bool_], padding: int | NDArray[np.integer]
) -> NDArray[np.int64]:
    """(N,) → (B, S); `padding` is one value or (B, 1)."""
    out = np.empty(filled.shape, np.int64)
    out[:] = padding
    out[filled] = values
    return out


def _document_ids(
    rows: Sequence[Row], lengths: NDArray[np.integer], segments: NDArray[np.integer] | None
) -> NDArray[np.integer]:
    documents = _flat(rows, "documents")
    if segments is None:
        return np.repeat(documents, lengths)
    counts = np.array([len(row["documents"]) for row in rows])
    return documents[np.repeat(np.cumsum(counts) - counts, lengths) + segments]


def _positions(segments: NDArray[np.integer], lengths: NDArray[np.integer]) -> NDArray[np.int64]:
    """Position of each token inside its segment."""
    starts = np.diff(segments, prepend=-1) != 0
    starts[np.cumsum(lengths) - lengths] = True
    places = np.arange(len(segments))
    return places - np.maximum.accumulate(np.where(starts, places, 0))
