"""E3 once more, with whole origins in place of documents: topics, or the sources they came from?

Documents of one origin (a module, an address, an author) share words and style beyond their topic.
Where they share the topic, too, shuffling documents takes an origin for as many observations as it
has documents.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ...data.documents import DocumentCounts, topic_sums
from ...statistics.permutations import (
    MIN_DOCUMENTS_FOR_P,
    family_wise_p,
    permutation_p,
    permuted_sums,
    restricted_orders,
)
from .information import information_bits

FEWEST_PER_TOPIC = 2  # with one origin, topic and origin are the same thing


def origin_units(origins: Sequence[Any], labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers the origins, apart where their documents differ in label.

    Args:
        origins: of each document (D).
        labels: topic or date of each document (D).

    Returns:
        (D) number of each document's unit, and (U) ascending row of each unit's first document.
    """
    units, _ = pd.factorize(pd.MultiIndex.from_arrays([list(origins), labels]))
    return units, np.unique(units, return_index=True)[1]


def origins_suffice(topics: np.ndarray) -> bool:
    """Whether topics (U) can be shuffled over origins: ten of them, no topic of one alone."""
    enough = len(topics) >= MIN_DOCUMENTS_FOR_P
    return enough and int(np.bincount(topics).min()) >= FEWEST_PER_TOPIC


def information_null(
    counts: np.ndarray, labels: np.ndarray, num_experts: int, orders: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Information of labels about experts, as it is and with labels shuffled over units.

    Args:
        counts: (U, L·E) choices of each unit.
        labels: (U) from 0.
        num_experts: E.
        orders: (P, U) orders of the units.

    Returns:
        `information.information_bits`, (L) and (P, L).
    """
    number, shape = int(labels.max()) + 1, (-1, num_experts)
    observed = information_bits(topic_sums(counts, labels, number).reshape(number, *shape))
    sums = permuted_sums(counts.astype(float), labels[orders], number)
    null = [information_bits(part.reshape(len(part), number, *shape)) for part in sums]
    return observed, np.concatenate(null)


def origin_information(
    data: DocumentCounts, origins: Mapping[str, str] | None, orders: np.ndarray
) -> pd.DataFrame:
    """Topic information with topics shuffled over whole origins.

    Args:
        data: per-document counts.
        origins: document id → origin; documents of one origin and topic are one unit.
        orders: (P, D) `permutations.document_orders`; what is left of them orders the origins.

    Returns:
        One row per layer: `bits` (plug-in minus the mean of this null), `null_bits`, `share` of
        log2 T, `p_value`, `family_p_value` (over layers; both NaN below 10 origins or with a topic
        of one), `origins`, `fewest_origins` (of a topic), `permutations`. Empty for one topic, and
        where each document is its own origin: the test by documents is this one.
    """
    columns = ["layer", "bits", "null_bits", "share", "p_value", "family_p_value", "origins"]
    names = [origins.get(name, name) for name in data.ids] if origins else data.ids
    units, first = origin_units(names, data.topic_ids)
    if len(first) == len(data.ids) or len(data.topics) < 2:
        return pd.DataFrame(columns=columns)
    counts = topic_sums(data.counts.reshape(len(units), -1), units, len(first))
    topics = data.topic_ids[first]
    observed, null = information_null(
        counts, topics, data.num_experts, restricted_orders(orders, first)
    )
    mean, spread = null.mean(axis=0), np.where(null.std(axis=0) > 0, null.std(axis=0), 1)
    p_value, family_p = (np.full(observed.shape, np.nan) for _ in range(2))
    if origins_suffice(topics):
        p_value = permutation_p(observed, null)
        family_p = family_wise_p((observed - mean) / spread, (null - mean) / spread)
    return pd.DataFrame(
        {
            "layer": data.layers,
            "bits": observed - mean,
            "null_bits": mean,
            "share": (observed - mean) / np.log2(len(data.topics)),
            "p_value": p_value,
            "family_p_value": family_p,
            "origins": len(first),
            "fewest_origins": int(np.bincount(topics).min()),
            "permutations": len(orders),
        }
    )
