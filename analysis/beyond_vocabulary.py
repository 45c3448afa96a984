"""E4, topic beyond vocabulary: do the same tokens go elsewhere in another topic?"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from .documents import topic_sums
from .information import information_bits
from .permutations import (
    MIN_DOCUMENTS_FOR_P,
    family_wise_p,
    permutation_p,
    permuted_sums,
    permuted_topics,
)
from .sample import TokenSample

PRIOR = 1.0  # tokens routed as the layer's load, added to every type
LOWER_PERMUTATIONS = 10  # for the mean of a null that needs all tokens again in each


@dataclass(frozen=True)
class TypeExpectation:
    """Choices that a document's token types alone would give.

    Attributes:
        observed: (S, L·E) choices of each document.
        left_out: (S, L·E) expected from the types' choices in all other documents.
        pooled: (S, L·E) expected from the types' choices in all documents, its own included.
    """

    observed: np.ndarray
    left_out: np.ndarray
    pooled: np.ndarray


@dataclass(frozen=True)
class TypeTable:
    """Choices (X, L·E) and tokens (X) of every type, and the share of tokens π (L·E) per expert."""

    choices: np.ndarray
    tokens: np.ndarray
    load: np.ndarray


def type_expectation(sample: TokenSample, types: TypeTable) -> TypeExpectation:
    """Expects each document's choices from its token types.

    p₋d(e | x) = (C_xe − C_xe^d + a·π_e) / (C_x − C_x^d + a) with a = 1: choices of type x outside
    the document, and for types that hardly occur elsewhere the layer's load π.
    """
    shape = len(sample.rows), len(sample.token_ids)
    ones = np.ones(len(sample.types))
    mix = sparse.csr_array((ones, (sample.documents, sample.types)), shape)  # tokens by d and x
    mix.sum_duplicates()
    outside = types.tokens[mix.indices] - mix.data + PRIOR
    weights = sparse.csr_array((mix.data / outside, mix.indices, mix.indptr), shape)
    per_token = np.asarray(weights[sample.documents, sample.types])
    own = _choices(sample, sample.documents, len(sample.rows), per_token)
    prior = weights.sum(axis=1)[:, None] * PRIOR * types.load
    return TypeExpectation(
        observed=_choices(sample, sample.documents, len(sample.rows), ones),
        left_out=weights @ types.choices - own + prior,
        pooled=mix @ (types.choices / types.tokens[:, None]),
    )


def other_topics_expectation(
    sample: TokenSample, types: TypeTable, observed: np.ndarray, topic_ids: np.ndarray
) -> np.ndarray:
    """Choices (T, L·E) that the token mix of each topic gives by the types' routing elsewhere.

    q_t: as p₋d with all documents of the topic left out; r_t: share of the other topics' tokens on
    each expert; w_t: the topic's share of all tokens. Expected is p̄ + (1 − w_t)(q_t − r_t): the
    shift that words make, off the mean of all topics. Without r_t, what the left-out topic does
    by context would return as a dip in its own expectation.

    Args:
        sample: untouched tokens of the sampled documents.
        types: choices of their types.
        observed: (S, L·E) choices of each document.
        topic_ids: (S) topic of each document.
    """
    topics = len(sample.topics)
    token_topics = topic_ids[sample.documents]
    cells = token_topics * len(types.tokens) + sample.types
    mix = np.bincount(cells, minlength=topics * len(types.tokens)).reshape(topics, -1)  # (T, X)
    tokens = mix.sum(axis=1, keepdims=True)
    outside = tokens.sum() - tokens
    weights = mix / (types.tokens - mix + PRIOR)
    own = topic_sums(observed, topic_ids, topics)
    elsewhere = (own.sum(axis=0) - own) / np.maximum(outside, 1)
    own_weighted = _choices(sample, token_topics, topics, weights[token_topics, sample.types])
    prior = weights.sum(axis=1, keepdims=True) * PRIOR * elsewhere
    mixed = (weights @ types.choices - own_weighted + prior) / np.maximum(tokens, 1)
    shares = types.load + outside / tokens.sum() * (mixed - elsewhere)
    expected: np.ndarray = tokens * np.maximum(shares, 0)
    return expected


def residual_statistic(residuals: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Σ_{t,e} (Σ_{d∈t} R_de)² / Σ_{d∈t} Exp_de per layer, from sums (…, T, L, E): (…, L)."""
    ratios = np.zeros(residuals.shape)
    np.divide(residuals**2, expected, out=ratios, where=expected > 0)
    return ratios.sum(axis=(-3, -1))


def beyond_vocabulary(sample: TokenSample, orders: np.ndarray) -> pd.DataFrame:
    """Tests for topic routing that token types do not explain, and brackets what they do.

    Args:
        sample: untouched tokens of the sampled documents.
        orders: (P, S) orders of the sampled documents.

    Returns:
        One row per layer: `statistic` over its null mean `null_statistic` (`ratio`, with the
        null's central 95% `null_low`, `null_high`), `p_value` and `family_p_value` (over layers;
        NaN when a topic has fewer than 10 sampled documents), `bits` of topic information in the
        sample minus the null mean, the bits that the token mix alone reproduces, each minus its
        null mean: `upper_bits` (types as routed in all documents) and `lower_bits` (as routed in
        other topics only), the same as shares of `bits` (`upper_share`, `lower_share`; NaN where
        `bits` is not positive), `max_bits` (log2 T), `topics`, `documents`,
        `fewest_documents`, `tokens`, `permutations`. Empty when fewer than two topics are sampled.
    """
    if len(np.unique(sample.topic_ids)) < 2:
        return pd.DataFrame(columns=["layer", "p_value", "family_p_value"])
    types = type_table(sample)
    expectation = type_expectation(sample, types)
    permuted = permuted_topics(orders, sample.topic_ids)
    residuals = expectation.observed - expectation.left_out
    values = np.concatenate([residuals, expectation.left_out], axis=1)
    statistic, null = _statistics(sample, values, permuted)
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


def _statistics(
    sample: TokenSample, values: np.ndarray, permuted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The statistic (L) and its null (P, L) from residuals and expectations (S, 2·L·E)."""
    topics, shape = len(sample.topics), (2, len(sample.layers), sample.num_experts)

    def statistics(batches: Iterator[np.ndarray]) -> np.ndarray:
        wide = (sums.astype(np.float64) for sums in batches)
        parts = (sums.reshape(-1, topics, *shape).swapaxes(1, 2) for sums in wide)
        return np.concatenate([residual_statistic(part[:, 0], part[:, 1]) for part in parts])

    observed = statistics(permuted_sums(values, sample.topic_ids[None], topics))[0]
    return observed, statistics(permuted_sums(values.astype(np.float32), permuted, topics))


def type_table(sample: TokenSample) -> TypeTable:
    """Counts the choices of every type; each of the sample's types has a token."""
    choices = _choices(sample, sample.types, len(sample.token_ids), np.ones(len(sample.types)))
    tokens = np.bincount(sample.types, minlength=len(sample.token_ids))
    return TypeTable(choices, tokens, choices.sum(axis=0) / len(sample.types))


def _choices(
    sample: TokenSample, groups: np.ndarray, num_groups: int, weights: np.ndarray
) -> np.ndarray:
    """Adds the weights of a group's tokens by layer and expert: (G, L·E)."""
    layers, slots = len(sample.layers), sample.num_experts + 1  # the last: slot not executed
    sums = np.zeros((num_groups, layers, slots))
    for layer in range(layers):
        for chosen in sample.experts[:, layer].T:
            counted = np.bincount(groups * slots + chosen, weights, num_groups * slots)
            sums[:, layer] += counted.reshape(num_groups, slots)
    return sums[..., :-1].reshape(num_groups, -1)
