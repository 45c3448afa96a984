"""E2, topic × expert: which topics an expert is chosen for more, or less, than for the others."""

import numpy as np
import pandas as pd

from ...data.documents import DocumentCounts
from ...statistics.null_test import false_discovery_q, largest_p
from ...statistics.share_intervals import (
    half_token,
    log2_ratio,
    log2_ratio_error,
    mean_variance,
    quantile,
    share_interval,
)
from ...statistics.welch import group_weights
from .information import TopicTests


def topic_expert_cells(data: DocumentCounts, tests: TopicTests) -> pd.DataFrame:
    """Share of each topic's tokens that chose each expert, against the mean of all topics.

    The share is the mean over the topic's groups, a group weighted by its tokens up to those of
    the median group, so that no long document speaks for its topic.

    Args:
        data: per-document counts, untouched tokens.
        tests: of the same data.

    Returns:
        One row per topic, layer and expert: `share` with its 95% interval `share_low`,
        `share_high`, `base_share` (mean of all topics), `chance` (k/E), `log2_ratio` with its 95%
        interval `low`, `high`, and `family_low`, `family_high`, which hold for all cells at once
        (Bonferroni) and so for whichever is picked (all NaN for a topic of fewer than 3 groups),
        `statistic` (`welch.cell_statistics`), `p_value` (family-wise over L × E × T), `q_value`
        (false discovery rate over the same; both NaN when a topic has fewer than 10 groups),
        `groups`, `documents` and `tokens` of the topic.
    """
    units = data.units
    estimates = _estimates(data)  # (4, T, L, E)
    mean, variance, half, effective = estimates
    ratio, error = log2_ratio(mean, half), log2_ratio_error(mean, variance, half)
    share_low, share_high = share_interval(mean, variance, half, effective)
    statistic = np.stack([layer.cells for layer in tests.layers], axis=1)  # (T, L, E)
    unknown = np.full(statistic.shape, np.nan)
    p_values, q_values = unknown, unknown
    if units.suffice:
        exceeding = np.stack([layer.exceeding for layer in tests.layers], axis=1)
        p_values = largest_p(np.abs(statistic), tests.largest)
        q_values = false_discovery_q((exceeding + 1) / (tests.permutations + 1))
    width = error * quantile(effective)
    family = error * quantile(effective, ratio.size)
    index = pd.MultiIndex.from_product(
        [data.topics, data.layers, range(data.num_experts)], names=["topic", "layer", "expert"]
    )
    columns = {
        "share": mean,
        "share_low": share_low,
        "share_high": share_high,
        "base_share": np.broadcast_to(mean.mean(axis=0), mean.shape),
        "chance": np.full(mean.shape, data.top_k / data.num_experts),
        "log2_ratio": ratio,
        "low": ratio - width,
        "high": ratio + width,
        "family_low": ratio - family,
        "family_high": ratio + family,
        "statistic": statistic,
        "p_value": p_values,
        "q_value": q_values,
        "groups": _by_topic(units.per_topic, mean),
        "documents": _by_topic(data.documents_per_topic, mean),
        "tokens": _by_topic(np.bincount(data.topic_ids, data.tokens).astype(np.int64), mean),
    }
    return pd.DataFrame({name: x.ravel() for name, x in columns.items()}, index).reset_index()


def _estimates(data: DocumentCounts) -> np.ndarray:
    """Mean share, its variance, half a token and the effective number of groups: (4, T, L, E)."""
    units, topics = data.units, len(data.topics)
    tokens = units.sums(data.tokens)
    weight = group_weights(tokens)
    found = np.empty((4, topics, *data.counts.shape[1:]))
    for topic in range(topics):
        rows = units.topics == topic
        found[2, topic] = half_token(tokens[rows], weight[rows])
        found[3, topic] = weight[rows].sum() ** 2 / (weight[rows] ** 2).sum()
        found[3, topic] *= rows.sum() >= 3
    for layer in range(data.counts.shape[1]):
        sums = units.sums(data.counts[:, layer])
        for topic in range(topics):
            rows = units.topics == topic
            found[:2, topic, layer] = mean_variance(sums[rows], tokens[rows], weight[rows])
    return found


def _by_topic(values: np.ndarray, like: np.ndarray) -> np.ndarray:
    return np.broadcast_to(values[:, None, None], like.shape)
