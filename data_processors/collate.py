"""Collation: rows of an `ExampleDataset` become one padded, masked batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..configs.plugins import kinds_of
from ..configs.schema_dataset import Masking
from .examples import Row
from .mask_kinds import MaskKind
from .masking import Batch, mask_batch
from .tokenizers import TokenizerFacts

IGNORED = -100  # label of positions without a loss (torch's cross entropy)


@dataclass(frozen=True)
class Layout:
    """How examples hold documents.

    Attributes:
        attend_across: documents of one example attend to each other; positions run on.
        ends_are_text: the token after a document is predicted like text (packing=blocks).
    """

    attend_across: bool = False
    ends_are_text: bool = False


ONE_DOCUMENT = Layout()


def layout_of(dataset: Mapping[str, Any]) -> Layout:
    """Reads the layout from the `dataset` section of the dataset's own manifest."""
    return Layout(dataset["attend_across"], dataset["packing"] == "blocks")


class MaskingCollator:
    """Masks and pads, for an encoder; picklable, without state of its own.

    Rows that carry fixed masks (`corrupted_ids`, `mask_kind`) keep them; others get the mask
    of (seed, row["epoch"], row["example_id"]).
    """

    def __init__(
        self, facts: TokenizerFacts, masking: Masking, seed: int, layout: Layout = ONE_DOCUMENT
    ) -> None:
        self.facts, self.masking, self.seed, self.layout = facts, masking, seed, layout

    def __call__(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """Returns the tensors of docs/contracts.md (int64, B rows padded to the longest)."""
        lengths = np.array([len(row["input_ids"]) for row in rows])
        input_ids = _flat(rows, "input_ids")
        if "mask_kind" in rows[0]:
            corrupted, kinds = _flat(rows, "corrupted_ids"), _flat(rows, "mask_kind")
        else:
            corrupted, kinds = self._mask(rows, input_ids, lengths)
        labels = np.where(_is_label(kinds), input_ids, IGNORED)
        tokens = {"input_ids": corrupted, "labels": labels, "mask_kind": kinds}
        return _pad_batch(rows, lengths, tokens, self.facts.pad_token_id, self.layout)

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


class CausalCollator:
    """Pads, for a decoder; picklable, without state of its own. Masks are ignored.

    A label is a token to predict from those before it: content, and in blocks the token that
    ends a document. The first token of what is attended together has nothing before it.
    """

    def __init__(self, facts: TokenizerFacts, layout: Layout = ONE_DOCUMENT) -> None:
        self.facts, self.layout = facts, layout

    def __call__(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """Returns the tensors of docs/contracts.md (int64, B rows padded to the longest)."""
        lengths = np.array([len(row["input_ids"]) for row in rows])
        input_ids, content = _flat(rows, "input_ids"), _flat(rows, "word_ids") >= 0
        predicted = content.copy()
        if self.layout.ends_are_text:
            predicted |= input_ids == self.facts.cls_sep[1]
        predicted[np.cumsum(lengths) - lengths] = False
        if "segment_ids" in rows[0] and not self.layout.attend_across:
            predicted &= np.diff(_flat(rows, "segment_ids"), prepend=-1) == 0
        tokens = {
            "input_ids": input_ids,
            "labels": np.where(predicted, input_ids, IGNORED),
            "mask_kind": np.where(content, MaskKind.UNTOUCHED, MaskKind.SPECIAL),
        }
        return _pad_batch(rows, lengths, tokens, self.facts.pad_token_id, self.layout)


def collator_of(
    made_with: Mapping[str, Any], facts: TokenizerFacts, seed: int, *, is_causal: bool
) -> MaskingCollator | CausalCollator:
    """Builds the collator of an encoder or a decoder, with the dataset's own layout and masking.

    Args:
        made_with: config in the dataset's manifest; the masking in the config of a later stage may
            be another one.
        facts: of the dataset's tokenizer.
        seed: decides, together with epoch and example, the masks of rows without fixed ones.
        is_causal: for a decoder.
    """
    layout = layout_of(made_with["dataset"])
    if is_causal:
        return CausalCollator(facts, layout)
    masking = kinds_of("masking").validate_python(made_with["masking"])
    return MaskingCollator(facts, masking, seed, layout)


def _pad_batch(
    rows: Sequence[Row],
    lengths: NDArray[np.integer],
    tokens: Mapping[str, NDArray[np.integer]],
    pad_token_id: int,
    layout: Layout,
) -> dict[str, Tensor]:
    """Pads flat (N,) `tokens` to (B, S) and adds what the rows say of documents.

    Padding: `segment_ids` repeat the row's last segment, so that no query is left without
    a key; `position_ids` are 0.
    """
    # tokens of a row fill its places from the left
    filled = np.arange(lengths.max()) < lengths[:, None]
    segments = _flat(rows, "segment_ids") if "segment_ids" in rows[0] else None
    documents = _of_each_token(rows, "documents", lengths, segments)
    batch = {
        "input_ids": _padded(tokens["input_ids"], filled, pad_token_id),
        "attention_mask": filled.astype(np.int64),
        "labels": _padded(tokens["labels"], filled, IGNORED),
        "mask_kind": _padded(tokens["mask_kind"], filled, MaskKind.PADDING),
        "document_ids": _padded(documents, filled, -1),
    }
    batch["label_positions"] = np.flatnonzero(batch["labels"] != IGNORED)
    starts = np.diff(filled, prepend=False)  # of a row's text, and of the padding after it
    if segments is not None and not layout.attend_across:
        ends = np.cumsum(lengths)
        batch["segment_ids"] = _padded(segments, filled, segments[ends - 1][:, None])
        batch["position_ids"] = _padded(_positions(segments, lengths), filled, 0)
        starts |= np.diff(batch["segment_ids"], prepend=-1) != 0
    batch["segment_starts"] = np.append(np.flatnonzero(starts), starts.size)
    if "metadata_ids" in rows[0]:
        values = _of_each_token(rows, "metadata_ids", lengths, segments)
        batch["metadata_ids"] = _padded(values, filled, -1)
    return {name: torch.from_numpy(values) for name, values in batch.items()}


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


def _of_each_token(
    rows: Sequence[Row],
    name: str,
    lengths: NDArray[np.integer],
    segments: NDArray[np.integer] | None,
) -> NDArray[np.integer]:
    """Spreads a column with one entry per segment over the segments' tokens, (N,)."""
    values = _flat(rows, name)
    if segments is None:
        return np.repeat(values, lengths)
    counts = np.array([len(row[name]) for row in rows])
    return values[np.repeat(np.cumsum(counts) - counts, lengths) + segments]


def _positions(segments: NDArray[np.integer], lengths: NDArray[np.integer]) -> NDArray[np.int64]:
    """Position of each token inside its segment."""
    starts = np.diff(segments, prepend=-1) != 0
    starts[np.cumsum(lengths) - lengths] = True
    places = np.arange(len(segments))
    return places - np.maximum.accumulate(np.where(starts, places, 0))
