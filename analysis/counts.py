"""Records from counts that were recorded elsewhere, without a routing store."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..configs.errors import UserError
from .chapters.load.measures import LoadRecord, expert_load, layer_balance
from .chapters.topic_map.measures import TopicMapRecord, document_points, topic_map
from .chapters.topics.cells import topic_expert_cells
from .chapters.topics.information import topic_information, topic_tests
from .chapters.topics.measures import TopicsRecord
from .chapters.vocabulary.measures import (
    VocabularyRecord,
    top_tokens,
    vocabulary_specialisation,
)
from .data.documents import DocumentCounts
from .data.token_types import TypeCounts
from .statistics.bootstrap import poisson_weights

LISTED_TOKENS = 10


def from_counts(
    counts: np.ndarray,
    topics: Sequence[str],
    *,
    tokens: np.ndarray | None = None,
    top_k: int = 1,
    layers: Sequence[int] | None = None,
    groups: Sequence[str] | None = None,
    token_types: TypeCounts | None = None,
    permutations: int = 999,
    bootstrap: int = 200,
    seed: int = 0,
) -> Mapping[str, Any]:
    """Computes the records that a report makes of topics, load, map and vocabulary.

    With one row per topic there is nothing to tell chance by: the information is plug-in, and
    there is no interval, no band and no p.

    Args:
        counts: (D, L, E) choices of each document, or of each topic as a whole; whole numbers.
        topics: topic of each row (D).
        tokens: (D) tokens of each row; None = its choices in the first layer over `top_k`.
        top_k: experts chosen per token and layer.
        layers: layer numbers; None = from 0.
        groups: of each row (D): author, module, address; None = each its own.
        token_types: choices by token type, for the vocabulary; None = not known.
        permutations: of topics over groups.
        bootstrap: draws of groups.
        seed: of both.

    Returns:
        Chapter → its record, as `measure_chapters` gives them: "topics", "load", "topic_map" and,
        with token types, "vocabulary".

    Raises:
        UserError: the arguments do not fit each other.
    """
    data = _documents(counts, topics, tokens, top_k, layers, groups)
    generator = np.random.default_rng(seed)
    weights = poisson_weights(data.group_names, bootstrap, seed)
    tests = topic_tests(data, permutations, generator)
    cells = topic_expert_cells(data, tests)
    records: dict[str, Any] = {
        "topics": TopicsRecord(topic_information(data, tests, weights), cells),
        "load": LoadRecord(expert_load(data, weights), layer_balance(data, weights), cells),
        "topic_map": TopicMapRecord(topic_map(data, generator), document_points(data, generator)),
    }
    if token_types is not None:
        records["vocabulary"] = _vocabulary(data, token_types, generator)
    return records


def _documents(
    counts: np.ndarray,
    topics: Sequence[str],
    tokens: np.ndarray | None,
    top_k: int,
    layers: Sequence[int] | None,
    groups: Sequence[str] | None,
) -> DocumentCounts:
    """The rows as documents; those without a token are left out.

    Raises:
        UserError: the arguments do not fit each other.
    """
    counts = np.asarray(counts)
    if counts.ndim != 3 or not np.issubdtype(counts.dtype, np.integer) or counts.min(initial=0) < 0:
        raise UserError(
            f"counts: {counts.dtype} of shape {counts.shape}; whole numbers, none below 0, of "
            "shape (rows, layers, experts) are needed"
        )
    held = np.asarray(counts[:, 0].sum(axis=-1) // top_k if tokens is None else tokens)
    numbers = range(counts.shape[1]) if layers is None else layers
    for name, values, wanted in (
        ("topics", topics, len(counts)),
        ("tokens", held, len(counts)),
        ("groups", topics if groups is None else groups, len(counts)),
        ("layers", numbers, counts.shape[1]),
    ):
        if len(values) != wanted:
            raise UserError(f"{name}: {len(values)} given, {wanted} are needed as in counts")
    kept = np.flatnonzero(held > 0)
    if not len(kept):
        raise UserError("counts: no row has a token; nothing to analyse")
    topic_ids, names = pd.factorize(np.asarray(topics, dtype=str)[kept])
    return DocumentCounts(
        ids=[f"row-{row:08d}" for row in kept.tolist()],
        topic_ids=topic_ids.astype(np.int64),
        topics=tuple(map(str, names)),
        layers=tuple(int(layer) for layer in numbers),
        top_k=top_k,
        counts=counts[kept],
        tokens=held[kept].astype(np.int64),
        masked_counts=np.zeros((len(kept), 0, 0), np.int32),
        masked_tokens=np.zeros(len(kept), np.int64),
        groups=None if groups is None else [str(groups[row]) for row in kept.tolist()],
    )


def _vocabulary(
    data: DocumentCounts, types: TypeCounts, generator: np.random.Generator
) -> VocabularyRecord:
    """The record of the vocabulary; the base is the load of the types themselves."""
    return VocabularyRecord(
        tokens=top_tokens(
            types,
            types.counts.sum(axis=0),
            int(types.tokens.sum()),
            LISTED_TOKENS,
            layers=data.layers,
            top_k=data.top_k,
        ),
        vocabulary=vocabulary_specialisation(types, data.layers, generator),
    )
