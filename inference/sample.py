"""The documents that the store keeps token by token."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .store import SAMPLE_FIELDS


def choose_documents(
    ids: Sequence[str], topic_ids: np.ndarray, per_topic: int, seed: int
) -> np.ndarray:
    """Chooses documents by a seeded hash of their id: the same ones whatever their order.

    Returns:
        (D,) bool, at most `per_topic` of each topic.
    """
    ranks = [hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8).digest() for name in ids]
    order = sorted(range(len(ids)), key=ranks.__getitem__)
    chosen, taken = np.zeros(len(ids), dtype=bool), np.zeros(topic_ids.max(initial=0) + 1, int)
    for document in order:
        topic = topic_ids[document]
        chosen[document] = taken[topic] < per_topic
        taken[topic] += chosen[document]
    return chosen


class TokenSample:
    """Rows of sample.parquet, gathered batch by batch; bounded by the documents chosen."""

    def __init__(self) -> None:
        self._rows: list[dict[str, np.ndarray]] = []

    def add(self, **columns: np.ndarray) -> None:
        """Adds tokens: the columns of sample.parquet without `position`, and `order`.

        `order` sorts the tokens of a document; `experts` and `weights` are (rows, L, k).
        """
        self._rows.append(columns)

    def columns(
        self, num_layers: int, top_k: int
    ) -> tuple[Mapping[str, Any], np.ndarray, np.ndarray]:
        """Returns (scalar columns, experts, weights), by document and position in it."""
        if not self._rows:
            slots = np.zeros((0, num_layers, top_k))
            return {field.name: np.zeros(0) for field in SAMPLE_FIELDS}, slots, slots
        joined = {name: np.concatenate([r[name] for r in self._rows]) for name in self._rows[0]}
        rows = np.lexsort((joined.pop("order"), joined["document"]))
        joined = {name: values[rows] for name, values in joined.items()}
        experts, weights = joined.pop("experts"), joined.pop("weights")
        starts = np.flatnonzero(np.diff(joined["document"], prepend=-1))
        lengths = np.diff(np.append(starts, len(rows)))
        joined["position"] = np.arange(len(rows)) - np.repeat(starts, lengths)
        return joined, experts, weights
