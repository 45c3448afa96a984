"""Adds forward passes to the tables, documents and token sample of a routing store."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from ...data_processors.mask_kinds import MaskKind
from ..store.writer import document_table
from .document_sums import DocumentSums
from .sample import TokenSample
from .tables import RoutedTokens, RoutingTables, TableSizes


@dataclass(frozen=True)
class TokenFacts:
    """What the recorder looks up for each token and document; all tensors are on the host.

    Attributes:
        row_of_id: (vocabulary,) int64 row of a token id in the type tables.
        class_of_id: (vocabulary,) int64 token class of an id.
        special_of_id: (vocabulary,) int64 place of a special token among them; the last place for
            all other ids.
        topic_of_document: (D,) int64.
        sampled: (D,) bool, documents kept token by token.
        documents: `split.DOCUMENT_COLUMNS` of every document, in order.
        sequence_length: longest window, in tokens.
    """

    row_of_id: Tensor
    class_of_id: Tensor
    special_of_id: Tensor
    topic_of_document: Tensor
    sampled: Tensor
    documents: pa.Table
    sequence_length: int


@dataclass(frozen=True)
class Observation:
    """What a model did with a batch of N real tokens and M labels; on the model's device.

    Attributes:
        experts: (N, L, k) int64, first choice first; E = slot not executed, after all others.
        weights: (N, L, k).
        confidence: (N, L, 3), the last axis as `tables.CONFIDENCE`; None where unknown.
        label_positions: (M,) flat index into B x S, ascending; on the host.
        loss: (M,) nats.
        logits: (M, V) scores of the labelled positions; read for sampled documents only.
        predicts_next: whether a label is predicted at the position before its own (decoders).
    """

    experts: Tensor
    weights: Tensor
    confidence: Tensor | None
    label_positions: Tensor
    loss: Tensor
    logits: Tensor
    predicts_next: bool = False


class RoutingRecorder:
    """Adds observations to the tables and, chunk by chunk, makes rows of documents."""

    def __init__(
        self, sizes: TableSizes, facts: TokenFacts, device: torch.device | str = "cpu"
    ) -> None:
        self.tables = RoutingTables(sizes, device)
        self.sample = TokenSample()
        self.num_tokens = 0
        self._sizes, self._facts, self._device = sizes, facts, device
        self._sums: DocumentSums | None = None

    def begin_chunk(self, first_document: int, last_document: int) -> None:
        """Opens a chunk that holds these documents from beginning to end."""
        self._sums = DocumentSums(
            first_document,
            last_document,
            num_layers=self._sizes.num_layers,
            num_experts=self._sizes.num_experts,
            device=self._device,
        )

    def add(self, batch: Mapping[str, Tensor], example_rows: np.ndarray, seen: Observation) -> None:
        """Records a batch.

        Args:
            batch: what the model was fed, as the collator made it, on the host.
            example_rows: (B,) row of each example in the split.
            seen: what happened.
        """
        assert self._sums is not None, "begin_chunk comes first"
        real = real_positions(batch)
        mask_kind = batch["mask_kind"].flatten()[real]
        document = batch["document_ids"].flatten()[real]
        labelled = torch.zeros(len(real), dtype=torch.bool)
        label_rows = torch.searchsorted(real, seen.label_positions)
        labelled[label_rows] = True
        tokens = self._routed_tokens(batch, real, mask_kind, document, seen)
        self.num_tokens += len(real)
        self.tables.add(tokens)
        self._sums.add_routing(tokens, document.to(self._device, non_blocking=True))
        self._sums.add_tokens(mask_kind.numpy(), document.numpy(), labelled.numpy())
        self._sums.add_loss(seen.loss, document[label_rows].to(self._device, non_blocking=True))
        kept = self._facts.sampled[document].nonzero().squeeze(1)
        if len(kept):
            self._sample(batch, example_rows, real, kept, label_rows, seen)

    def end_chunk(self) -> pa.Table:
        """Returns the chunk's documents, as the store has them."""
        assert self._sums is not None, "begin_chunk comes first"
        documents, columns, experts, masked = self._sums.rows()
        known = self._facts.documents.take(pa.array(documents))
        described = {name: known.column(name) for name in known.column_names}
        self._sums = None
        return document_table({"document": documents, **described, **columns}, experts, masked)

    def _routed_tokens(
        self,
        batch: Mapping[str, Tensor],
        real: Tensor,
        mask_kind: Tensor,
        document: Tensor,
        seen: Observation,
    ) -> RoutedTokens:
        facts = self._facts
        true, input_ids = true_ids(batch), batch["input_ids"].flatten()[real]
        masked = (mask_kind == MaskKind.MASKED).nonzero().squeeze(1)
        targets, target_ids = masked, true[real[masked]]
        if seen.predicts_next:
            # a decoder is asked for token i at i - 1; only untouched tokens there are counted
            before = torch.searchsorted(real, seen.label_positions - 1)
            asked = mask_kind[before] == MaskKind.UNTOUCHED
            targets, target_ids = before[asked], true[seen.label_positions[asked]]
        # what stands at replaced and kept positions was drawn by masking
        left_out = (mask_kind == MaskKind.REPLACED) | (mask_kind == MaskKind.KEPT)
        host = {
            "topic": facts.topic_of_document[document],
            "mask_kind": mask_kind,
            "input_type": facts.row_of_id[input_ids],
            "token_class": facts.class_of_id[input_ids],
            "place": self._place(mask_kind, positions(batch).flatten()[real], input_ids),
            "untouched": (mask_kind == MaskKind.UNTOUCHED).nonzero().squeeze(1),
            "masked": masked,
            "natural": (~left_out).nonzero().squeeze(1),
            "targets": targets,
            "target_type": facts.row_of_id[target_ids],
        }
        return RoutedTokens(
            experts=seen.experts,
            confidence=seen.confidence,
            **{name: values.to(self._device, non_blocking=True) for name, values in host.items()},
        )

    def _place(self, mask_kind: Tensor, position: Tensor, input_ids: Tensor) -> Tensor:
        """(N,) row of natural tokens as `TableSizes.num_places` orders them; others: any."""
        bins = self._sizes.num_positions
        row = position * bins // self._facts.sequence_length
        # rows: bins of untouched tokens, bins of masked ones, then special tokens
        row += bins * (mask_kind == MaskKind.MASKED)
        special = 2 * bins + self._facts.special_of_id[input_ids]
        return torch.where(mask_kind == MaskKind.SPECIAL, special, row)

    def _sample(
        self,
        batch: Mapping[str, Tensor],
        example_rows: np.ndarray,
        real: Tensor,
        kept: Tensor,
        label_rows: Tensor,
        seen: Observation,
    ) -> None:
        loss = torch.full((len(real),), torch.nan)
        predicted = torch.full((len(real),), torch.nan, dtype=torch.float64)
        labels = torch.isin(label_rows, kept).nonzero().squeeze(1)  # of the sampled documents
        logits, label_loss = seen.logits, seen.loss
        if len(labels) < len(label_rows):  # a copy of all scores costs more than their argmax
            on_device = labels.to(self._device)
            logits, label_loss = logits[on_device], label_loss[on_device]
        loss[label_rows[labels]] = label_loss.float().cpu()
        predicted[label_rows[labels]] = best_ids(logits).double()
        places, on_device = real[kept], kept.to(self._device)
        width = batch["input_ids"].shape[1]
        rows = example_rows[(places // width).numpy()]
        self.sample.add(
            document=batch["document_ids"].flatten()[places].int().numpy(),
            order=rows.astype(np.int64) * self._facts.sequence_length + (places % width).numpy(),
            token_id=true_ids(batch)[places].int().numpy(),
            input_id=batch["input_ids"].flatten()[places].int().numpy(),
            mask_kind=batch["mask_kind"].flatten()[places].to(torch.int8).numpy(),
            loss=loss[kept].numpy(),
            predicted_id=predicted[kept].numpy(),
            experts=seen.experts[on_device].short().cpu().numpy(),
            weights=seen.weights[on_device].half().cpu().numpy(),
        )


def best_ids(scores: Tensor) -> Tensor:
    """(M, V) → (M,) index of each row's largest score, on the host."""
    if scores.device.type == "cpu":  # numpy's argmax is ten times as fast as torch's
        return torch.from_numpy(scores.float().numpy().argmax(-1))
    return scores.argmax(-1).cpu()


def real_positions(batch: Mapping[str, Tensor]) -> Tensor:
    """(N,) flat index of every token that is not padding, ascending."""
    return (batch["mask_kind"].flatten() >= 0).nonzero().squeeze(1)


def true_ids(batch: Mapping[str, Tensor]) -> Tensor:
    """(B*S,) the tokens before corruption."""
    labels = batch["labels"].flatten()
    return torch.where(labels >= 0, labels, batch["input_ids"].flatten())


def positions(batch: Mapping[str, Tensor]) -> Tensor:
    """(B, S) position inside the window (packed: inside the document's segment)."""
    if "position_ids" in batch:
        return batch["position_ids"]
    return torch.arange(batch["input_ids"].shape[1]).expand_as(batch["input_ids"])
