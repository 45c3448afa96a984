"""Documents as rows, and the groups that they come from: the unit of every test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from ...configs.errors import UserError
from ...inference.store.reader import RoutingStore
from ..statistics.units import Units, group_units


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
        groups: group of each document (D): module, author, address; None = each its own.
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
    groups: Sequence[str] | None = None

    @property
    def num_experts(self) -> int:
        return int(self.counts.shape[2])

    @property
    def documents_per_topic(self) -> np.ndarray:
        """Documents of each topic (T)."""
        return np.bincount(self.topic_ids, minlength=len(self.topics))

    @property
    def group_names(self) -> list[str]:
        """The group of each document (D); its own id where groups are not known."""
        return list(self.ids if self.groups is None else self.groups)

    @cached_property
    def units(self) -> Units:
        """What is permuted, resampled and counted: the documents of a group in a topic."""
        return group_units(self.group_names, self.topic_ids, len(self.topics))


def document_counts(store: RoutingStore, groups: Mapping[str, str] | None = None) -> DocumentCounts:
    """Takes the per-document counts out of a routing store.

    Topics without a document are left out: nothing can be said of them.

    Args:
        store: the routing store.
        groups: document id → group; a document without one is its own. None = each is.

    Raises:
        UserError: the store holds no document with an untouched token.
    """
    frame = store.documents.reset_index(drop=True)
    order = frame["id"].astype(str).argsort(kind="stable").to_numpy()
    order = order[frame["num_untouched"].to_numpy()[order] > 0]
    if not len(order):
        raise UserError(f"{store.folder}: no document has an untouched token; nothing to analyse")
    ids = frame["id"].astype(str).iloc[order].tolist()
    present, topic_ids = np.unique(frame["topic_id"].to_numpy()[order], return_inverse=True)
    return DocumentCounts(
        ids=ids,
        topic_ids=topic_ids.astype(np.int64),
        topics=tuple(store.topics[topic] for topic in present),
        layers=tuple(int(layer) for layer in store.layers),
        top_k=int(store.top_k),
        counts=np.asarray(store.expert_counts)[order].astype(np.int32, copy=False),
        tokens=frame["num_untouched"].to_numpy(np.int64)[order],
        masked_counts=np.asarray(store.masked_expert_counts)[order].astype(np.int32, copy=False),
        masked_tokens=frame["num_masked"].to_numpy(np.int64)[order],
        groups=[groups.get(name, name) for name in ids] if groups else None,
    )


def rows_of(numbers: Any, documents: pd.DataFrame, data: DocumentCounts) -> np.ndarray:
    """Row in `data` of each document that a table of the store names by number; −1 for none.

    Args:
        numbers: of documents (N).
        documents: documents.parquet, which names them.
        data: per-document counts, sorted by name.
    """
    row_of_id = {name: row for row, name in enumerate(data.ids)}
    row_of = documents.set_index("document")["id"].astype(str).map(row_of_id)
    return pd.Series(numbers).map(row_of).fillna(-1).to_numpy(np.int64)
