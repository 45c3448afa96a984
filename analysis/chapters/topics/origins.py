"""E3 once more, with whole origins in place of documents: topics, or the sources they came from?

Documents of one origin (a module, an address, an author) share words and style beyond their topic.
Where they share the topic, too, shuffling documents takes an origin for as many observations as it
has documents.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ...data.documents import DocumentCounts
from ...statistics.groups import information_null, origin_units, origins_suffice
from ...statistics.permutations import (
    family_wise_p,
    permutation_p,
    restricted_orders,
    topic_sums,
)


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
