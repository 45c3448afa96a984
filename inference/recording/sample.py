"""Chooses the documents that the store keeps token by token, and gathers their tokens."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..store.schema import SAMPLE_FIELDS


def topic_ranks(ids: Sequence[str], topic_ids: np.ndarray, seed: int) -> np.ndarray:
    """Draws an order of each topic's documents by a seeded hash of their id.

    Returns:
        (D,) int64, a document's place in its topic, from 0: the same whatever the order of `ids`.
    """
    keys = [hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8).digest() for name in ids]
    order = np.lexsort((np.array(keys, dtype="S8"), topic_ids))
    starts = np.searchsorted(topic_ids[order], topic_ids[order])
    ranks = np.empty(len(ids), dtype=np.int64)
    ranks[order] = np.arange(len(ids)) - starts
    return ranks


def choose_documents(
    ranks: np.ndarray, num_tokens: np.ndarray, *, per_topic: int, max_tokens: int
) -> np.ndarray:
    """Chooses the first documents of every topic, in turn, until they hold `max_tokens`.

    The first document that does not fit ends the choice: going on with shorter ones would favour
    short documents.

    Args:
        ranks: (D,) as `topic_ranks` gives them.
        num_tokens: (D,).

    Returns:
        (D,) bool, at most `per_topic` of each topic and `max_tokens` tokens.
    """
    order = np.argsort(ranks, kind="stable")
    fits = np.cumsum(num_tokens[order], dtype=np.int64) <= max_tokens
    chosen = np.zeros(len(ranks), dtype=bool)
    chosen[order] = fits & (ranks[order] < per_topic)
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

    @property
    def num_pieces(self) -> int:
        """How often tokens were added."""
        return len(self._rows)

    def pieces(self, start: int) -> dict[str, np.ndarray]:
        """Joins what was added from piece `start` on, for `add`; {} without any."""
        rows = self._rows[start:]
        return {name: np.concatenate([r[name] for r in rows]) for name in rows[0]} if rows else {}

    def columns(
        self, num_layers: int, num_slots: int
    ) -> tuple[Mapping[str, Any], np.ndarray, np.ndarray]:
        """Returns (scalar columns, experts, weights) by document and position; forgets them."""
        if not self._rows:
            slots = np.zeros((0, num_layers, num_slots))
            return {field.name: np.zeros(0) for field in SAMPLE_FIELDS}, slots, slots
        joined = self.pieces(0)
        self._rows.clear()  # sorting copies twice; this frees the first copy
        rows = np.lexsort((joined.pop("order"), joined["document"]))
        joined = {name: values[rows] for name, values in joined.items()}
        experts, weights = joined.pop("experts"), joined.pop("weights")
        starts = np.flatnonzero(np.diff(joined["document"], prepend=-1))
        lengths = np.diff(np.append(starts, len(rows)))
        joined["position"] = np.arange(len(rows)) - np.repeat(starts, lengths)
        return joined, experts, weights
