"""E4, topic beyond vocabulary: do the same tokens go elsewhere in another topic?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...data.run import RunData
from ...data.sample import TokenSample
from ...statistics.draws import Draws
from ...statistics.groups import origin_units, origins_suffice
from ...statistics.information import information_bits
from ...statistics.permutations import (
    MIN_DOCUMENTS_FOR_P,
    family_wise_p,
    permutation_p,
    permuted_sums,
    permuted_topics,
    restricted_orders,
    topic_sums,
)
from .type_expectation import (
    TypeExpectation,
    TypeTable,
    other_topics_expectation,
    type_expectation,
    type_table,
)

LOWER_PERMUTATIONS = 10  # for the mean of a null that needs all tokens again in each


def residual_statistic(residuals: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Σ_{t,e} (Σ_{d∈t} R_de)² / Σ_{d∈t} Exp_de per layer, from sums (…, T, L, E): (…, L)."""
    ratios = np.zeros(residuals.shape)
    np.divide(residuals**2, expected, out=ratios, where=expected > 0)
    return ratios.sum(axis=(-3, -1))


def beyond_vocabulary(
    sample: TokenSample, orders: np.ndarray, origins: Sequence[str] | None = None
) -> pd.DataFrame:
    """Tests for topic routing that token types do not explain, and brackets what they do.

    Args:
        sample: untouched tokens of the sampled documents.
        orders: (P, S) orders of the sampled documents.
        origins: of each sampled document (S); None = each its own.

    Returns:
        One row per layer: `statistic` over its null mean `null_statistic` (`ratio`, with the
        null's central 95% `null_low`, `null_high`), `p_value` and `family_p_value` (over layers;
        NaN when a topic has fewer than 10 sampled documents), `origin_family_p_value` (the same
        with whole origins shuffled; NaN below 10 origins or with a topic of one), `bits` of topic
        information in the sample minus the null mean, the bits that the token mix alone
        reproduces, each minus its null mean: `upper_bits` (types as routed in all documents) and
        `lower_bits` (as routed in other topics only), the same as shares of `bits` (`upper_share`,
        `lower_share`; NaN where `bits` is not positive), `max_bits` (log2 T), `topics`,
        `documents`, `fewest_documents`, `tokens`, `permutations`. Empty when fewer than two topics
        are sampled.
    """
    if len(np.unique(sample.topic_ids)) < 2:
        return pd.DataFrame(columns=["layer", "p_value", "family_p_value"])
    types = type_table(sample)
    expectation = type_expectation(sample, types)
    permuted = permuted_topics(orders, sample.topic_ids)
    residuals = expectation.observed - expectation.left_out
    values = np.concatenate([residuals, expectation.left_out], axis=1)
    statistic, null = _statistics(sample, values, sample.topic_ids, permuted)
    p_value, family_p = np.full(statistic.shape, np.nan), np.full(statistic.shape, np.nan)
    if sample.documents_per_topic.min() >= MIN_DOCUMENTS_FOR_P:
        spread = np.where(null.std(axis=0) > 0, null.std(axis=0), 1)
        p_value = permutation_p(statistic, null)
        family_p = family_wise_p(
            (statistic - null.mean(axis=0)) / spread, (null - null.mean(axis=0)) / spread
        )
    mean = np.where(null.mean(axis=0) > 0, null.mean(axis=0), 1)
    low, high = np.quantile(null, [0.025, 0.975], axis=0)
    return pd.DataFrame(
        {
            "layer": sample.layers,
            "statistic": statistic,
            "null_statistic": mean,
            "ratio": statistic / mean,
            "null_low": low / mean,
            "null_high": high / mean,
            "p_value": p_value,
            "family_p_value": family_p,
            "origin_family_p_value": _by_origin(sample, values, orders, origins, family_p),
            **_bracket(sample, types, expectation, permuted),
            "max_bits": np.log2(len(sample.topics)),
            "topics": len(sample.topics),
            "documents": len(sample.rows),
            "fewest_documents": int(sample.documents_per_topic.min()),
            "tokens": len(sample.types),
            "permutations": len(permuted),
        }
    )


def _bracket(
    sample: TokenSample, types: TypeTable, expectation: TypeExpectation, permuted: np.ndarray
) -> dict[str, np.ndarray]:
    """Topic information in the sample, and what the token mix reproduces of it, each (L)."""
    bits = _corrected_bits(sample, expectation.observed, permuted)
    upper = _corrected_bits(sample, expectation.pooled, permuted)
    shape = len(sample.topics), len(sample.layers), sample.num_experts
    plug_in, *null = (
        information_bits(
            other_topics_expectation(sample, types, expectation.observed, topics).reshape(shape)
        )
        for topics in [sample.topic_ids, *permuted[:LOWER_PERMUTATIONS]]
    )
    lower = plug_in - np.mean(null, axis=0)
    whole = np.where(bits > 0, bits, np.nan)
    return {
        "bits": bits,
        "lower_bits": lower,
        "upper_bits": upper,
        "lower_share": lower / whole,
        "upper_share": upper / whole,
    }


def _corrected_bits(sample: TokenSample, values: np.ndarray, permuted: np.ndarray) -> np.ndarray:
    """Topic information of per-document choices (S, L·E), minus the mean of its null: (L)."""
    topics, shape = len(sample.topics), (len(sample.layers), sample.num_experts)
    plug_in = information_bits(topic_sums(values, sample.topic_ids, topics).reshape(topics, *shape))
    null = [
        information_bits(sums.astype(np.float64).reshape(len(sums), topics, *shape))
        for sums in permuted_sums(values.astype(np.float32), permuted, topics)
    ]
    corrected: np.ndarray = plug_in - np.concatenate(null).mean(axis=0)
    return corrected


def _by_origin(
    sample: TokenSample,
    values: np.ndarray,
    orders: np.ndarray,
    origins: Sequence[str] | None,
    by_document: np.ndarray,
) -> np.ndarray:
    """Family-wise p over layers (L) with topics shuffled over origins, whose documents add up."""
    units, first = origin_units(origins or range(len(sample.rows)), sample.topic_ids)
    if len(first) == len(sample.rows):
        return by_document
    topics = sample.topic_ids[first]
    if not origins_suffice(topics):
        return np.full(len(sample.layers), np.nan)
    sums = topic_sums(values, units, len(first))
    statistic, null = _statistics(sample, sums, topics, topics[restricted_orders(orders, first)])
    spread = np.where(null.std(axis=0) > 0, null.std(axis=0), 1)
    mean = null.mean(axis=0)
    return family_wise_p((statistic - mean) / spread, (null - mean) / spread)


def _statistics(
    sample: TokenSample, values: np.ndarray, labels: np.ndarray, permuted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The statistic (L) and its null (P, L).

    Args:
        sample: for the axes.
        values: (U, 2·L·E) residuals and expectations of documents or origins.
        labels: (U) their topics.
        permuted: (P, U) the same shuffled.
    """
    topics, shape = len(sample.topics), (2, len(sample.layers), sample.num_experts)

    def statistics(batches: Iterator[np.ndarray]) -> np.ndarray:
        wide = (sums.astype(np.float64) for sums in batches)
        parts = (sums.reshape(-1, topics, *shape).swapaxes(1, 2) for sums in wide)
        return np.concatenate([residual_statistic(part[:, 0], part[:, 1]) for part in parts])

    observed = statistics(permuted_sums(values, labels[None], topics))[0]
    return observed, statistics(permuted_sums(values.astype(np.float32), permuted, topics))


@dataclass(frozen=True)
class ContextRecord:
    """What topics add to the tokens themselves.

    Attributes:
        beyond: `beyond_vocabulary`; empty where nothing is kept token by token.
        information: topic information of each layer (`topics.information.topic_information`).
        origins: the same with whole groups permuted (`topics.origins.origin_information`).
    """

    beyond: pd.DataFrame
    information: pd.DataFrame
    origins: pd.DataFrame


def measure_context(
    run: RunData, draws: Draws, information: pd.DataFrame, origins: pd.DataFrame
) -> ContextRecord:
    """Computes the record."""
    sample, groups = run.sample, run.group_names
    beyond = beyond_vocabulary(
        sample,
        restricted_orders(draws.orders, sample.rows),
        [groups[row] for row in sample.rows] if groups else None,
    )
    return ContextRecord(beyond, information, origins)
