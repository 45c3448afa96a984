"""E2, topic × expert: which topics an expert is chosen for more, or less, than for the others."""

import numpy as np
import pandas as pd

from ...data.documents import DocumentCounts
from ...statistics.bootstrap import bootstrap_topic_sums, interval
from ...statistics.permutations import MIN_DOCUMENTS_FOR_P, family_wise_p, topic_sums
from ...statistics.ratios import log2_ratios


def squared_residuals(counts: np.ndarray) -> np.ndarray:
    """(x_de − p_e · Σ_e x_de)² with the pooled share p_e, per document: (D, L, E)."""
    pooled = counts.sum(axis=0)
    shares = pooled / np.maximum(pooled.sum(axis=-1, keepdims=True), 1)
    return (counts - shares * counts.sum(axis=-1, keepdims=True)) ** 2


def studentised(sums: np.ndarray, spread: np.ndarray, documents: np.ndarray) -> np.ndarray:
    """Deviation of a topic's share from the mean of all topics, in standard errors.

    To first order this is the studentised log-ratio. The standard error is the larger of the
    topic's own and the pooled one: the topic's own keeps a topic of uneven documents from being
    marked too easily, the pooled one keeps rare experts from looking certain.

    Args:
        sums: (…, T, L, E) choices.
        spread: (…, T, L, E) sums of `squared_residuals`.
        documents: (T) documents per topic.
    """
    totals = np.maximum(sums.sum(axis=-1, keepdims=True), 1)
    shares = sums / totals
    deviation = shares - shares.mean(axis=-3, keepdims=True)
    count = documents[:, None, None]
    own = spread / np.maximum(count - 1, 1)
    pooled = spread.sum(axis=-3, keepdims=True) / max(documents.sum() - 1, 1)
    sampling = count * (1 - count / documents.sum())
    error = np.sqrt(sampling * np.maximum(own, pooled)) / totals
    return np.divide(deviation, error, out=np.zeros_like(deviation), where=error > 0)


def topic_expert_cells(
    data: DocumentCounts, weights: np.ndarray, null_largest: np.ndarray
) -> pd.DataFrame:
    """Share of each topic's tokens that chose each expert, against the mean of all topics.

    Args:
        data: per-document counts, untouched tokens.
        weights: (B, D) bootstrap weights.
        null_largest: (P) largest |`studentised`| over all cells under each permutation.

    Returns:
        One row per topic, layer and expert: `share` of the topic's tokens with its 95% interval
        `share_low`, `share_high`, `base_share` (mean of all topics), `chance` (k/E),
        `log2_ratio` with its 95% interval `low`, `high` (all intervals NaN for a topic of fewer
        than 3 documents), `statistic` (`studentised`),
        `p_value` (family-wise over L × E × T; NaN when a topic has fewer than 10 documents),
        `documents` and `tokens` of the topic.
    """
    topics, experts = len(data.topics), data.num_experts
    sums = topic_sums(data.counts, data.topic_ids, topics)  # (T, L, E)
    spread = topic_sums(squared_residuals(data.counts), data.topic_ids, topics)
    tokens = topic_sums(data.tokens, data.topic_ids, topics)  # (T)
    shares = sums / tokens[:, None, None]
    statistic = studentised(sums, spread, data.documents_per_topic)
    p_values = np.full(statistic.shape, np.nan)
    if topics > 1 and data.documents_per_topic.min() >= MIN_DOCUMENTS_FOR_P:
        p_values = family_wise_p(np.abs(statistic), null_largest[:, None])
    draws, drawn_tokens = _bootstrap_sums(data, weights)
    documents = data.documents_per_topic[:, None, None]
    held = (drawn_tokens > 0)[..., None, None]  # (B, T, 1, 1); a ratio needs every topic
    ratios = np.where(held.all(axis=1, keepdims=True), log2_ratios(draws), np.nan)
    low, high = interval(ratios, documents)
    drawn_shares = draws / np.where(held, drawn_tokens[..., None, None], np.nan)
    share_low, share_high = interval(drawn_shares, documents)
    index = pd.MultiIndex.from_product(
        [data.topics, data.layers, range(experts)], names=["topic", "layer", "expert"]
    )
    columns = {
        "share": shares,
        "share_low": share_low,
        "share_high": share_high,
        "base_share": np.broadcast_to(shares.mean(axis=0), shares.shape),
        "chance": np.full(shares.shape, data.top_k / experts),
        "log2_ratio": log2_ratios(sums),
        "low": low,
        "high": high,
        "statistic": statistic,
        "p_value": p_values,
        "documents": np.broadcast_to(documents, shares.shape),
        "tokens": np.broadcast_to(tokens[:, None, None], shares.shape),
    }
    return pd.DataFrame({name: x.ravel() for name, x in columns.items()}, index).reset_index()


def _bootstrap_sums(data: DocumentCounts, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Choices (B, T, L, E) and tokens (B, T) by topic in each bootstrap draw."""
    flat = np.column_stack([data.counts.reshape(len(data.ids), -1), data.tokens])
    draws = bootstrap_topic_sums(flat, data.topic_ids, len(data.topics), weights)
    shape = len(weights), len(data.topics), *data.counts.shape[1:]
    return draws[..., :-1].reshape(shape), draws[..., -1]
