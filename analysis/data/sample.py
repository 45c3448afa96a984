"""Whole documents token by token: what tells context apart from vocabulary."""

from dataclasses import dataclass

import numpy as np

from ...data_processors.mask_kinds import MaskKind
from ...inference.store.reader import RoutingStore
from .documents import DocumentCounts, rows_of


@dataclass(frozen=True)
class TokenSample:
    """Untouched tokens of the sampled documents, by document and position.

    Attributes:
        rows: (S) ascending rows of `DocumentCounts` that are sampled.
        topic_ids: (S) topic of each sampled document.
        topics: topic names (T).
        layers: layer numbers (L).
        num_experts: E.
        documents: (N) sampled document of each token, index into `rows`; ascending.
        positions: (N) position of the token in its document.
        types: (N) token type, index into `token_ids`.
        token_ids: (X) token id of each type.
        experts: (N, L, k) chosen experts; E = slot that no expert executed.
    """

    rows: np.ndarray
    topic_ids: np.ndarray
    topics: tuple[str, ...]
    layers: tuple[int, ...]
    num_experts: int
    documents: np.ndarray
    positions: np.ndarray
    types: np.ndarray
    token_ids: np.ndarray
    experts: np.ndarray

    @property
    def documents_per_topic(self) -> np.ndarray:
        """Sampled documents of each topic (T)."""
        return np.bincount(self.topic_ids, minlength=len(self.topics))


def token_sample(store: RoutingStore, data: DocumentCounts) -> TokenSample:
    """Takes the untouched tokens of the sampled documents out of a store."""
    rows = rows_of(store.sample["document"].to_numpy(), store.documents, data)
    own = np.flatnonzero((store.sample["mask_kind"].to_numpy() == MaskKind.UNTOUCHED) & (rows >= 0))
    positions = store.sample["position"].to_numpy(np.int64)
    own = own[np.lexsort((positions[own], rows[own]))]
    kept, documents = np.unique(rows[own], return_inverse=True)
    token_ids, types = np.unique(store.sample["input_id"].to_numpy()[own], return_inverse=True)
    return TokenSample(
        rows=kept,
        topic_ids=data.topic_ids[kept],
        topics=data.topics,
        layers=data.layers,
        num_experts=data.num_experts,
        documents=documents,
        positions=positions[own],
        types=types,
        token_ids=token_ids,
        experts=store.sample_experts[own].astype(np.int64),
    )
