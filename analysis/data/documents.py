"""Documents as rows: the unit of every resampling and every test."""

from dataclasses import dataclass

import numpy as np

from ...configs.errors import UserError
from ...inference.store.reader import RoutingStore


@dataclass(frozen=True)
class DocumentCounts:
    """Expert choices of each document, sorted by document id.

    Sorting makes every draw of the resampling independent of the order in the store.

    Attributes:
        ids: document ids (D).
        topic_ids: index into `topics` (D).
        topics: topic names (T).
        layers: layer numbers in the model (L).
        top_k: experts chosen per token and layer.
        counts: choices (D, L, E), untouched tokens only.
        tokens: untouched tokens (D).
        masked_counts: choices (D, L, E), [MASK] tokens only.
        masked_tokens: [MASK] tokens (D).
    """

    ids: list[str]
    topic_ids: np.ndarray
    topics: tuple[str, ...]
    layers: tuple[int, ...]
    top_k: int
    counts: np.ndarray
    tokens: np.ndarray
    masked_counts: np.ndarray
    masked_tokens: np.ndarray

    @property
    def num_experts(self) -> int:
        return int(self.counts.shape[2])

    @property
    def documents_per_topic(self) -> np.ndarray:
        """Documents of each topic (T)."""
        return np.bincount(self.topic_ids, minlength=len(self.topics))


def document_counts(store: RoutingStore) -> DocumentCounts:
    """Takes the per-document counts out of a routing store.

    Topics without a document are left out: nothing can be said of them.

    Raises:
        UserError: the store holds no document with an untouched token.
    """
    frame = store.documents.reset_index(drop=True)
    order = frame["id"].astype(str).argsort(kind="stable").to_numpy()
    order = order[frame["num_untouched"].to_numpy()[order] > 0]
    if not len(order):
        raise UserError(f"{store.folder}: no document has an untouched token; nothing to analyse")
    present, topic_ids = np.unique(frame["topic_id"].to_numpy()[order], return_inverse=True)
    return DocumentCounts(
        ids=frame["id"].astype(str).iloc[order].tolist(),
        topic_ids=topic_ids.astype(np.int64),
        topics=tuple(store.topics[topic] for topic in present),
        layers=tuple(int(layer) for layer in store.layers),
        top_k=int(store.top_k),
        counts=np.asarray(store.expert_counts)[order].astype(np.int64),
        tokens=frame["num_untouched"].to_numpy(np.int64)[order],
        masked_counts=np.asarray(store.masked_expert_counts)[order].astype(np.int64),
        masked_tokens=frame["num_masked"].to_numpy(np.int64)[order],
    )
