"""Bootstrap of groups: intervals from groups drawn with Poisson(1) weights."""

import hashlib
from collections.abc import Sequence

import numpy as np
from scipy import stats

from ...configs.splitmix import splitmix64

LEVEL = 0.95
FEWEST_FOR_INTERVAL = 3


def poisson_weights(ids: Sequence[str], draws: int, seed: int) -> np.ndarray:
    """Gives every name a Poisson(1) weight in every draw: (B, D).

    A weight depends only on (seed, name, draw): documents that give the name of their group share
    theirs, and neither their order nor how they are spread over processes changes it.
    """
    keys = np.array(
        [
            int.from_bytes(hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8).digest())
            for name in ids
        ],
        dtype=np.uint64,
    )
    uniform = splitmix64(keys[None, :], np.arange(draws)[:, None]) / 2.0**64
    return np.searchsorted(stats.poisson.cdf(np.arange(20), 1.0), uniform).astype(np.float32)


def weighted_sums(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Adds weighted values of documents (D) or (D, L, …), layer by layer: (B) or (B, L, …)."""
    wide = weights.astype(np.float64)
    if values.ndim == 1:
        return wide @ values
    sums = [wide @ values[:, layer].reshape(len(values), -1) for layer in range(values.shape[1])]
    return np.stack(sums, axis=1).reshape(len(weights), *values.shape[1:])


def bootstrap_topic_sums(
    values: np.ndarray, topic_ids: np.ndarray, num_topics: int, weights: np.ndarray
) -> np.ndarray:
    """Adds weighted per-document values (D, C) by topic: (B, T, C).

    A draw may hold no document of a topic; sums of 0 then mean nothing, and `interval` wants NaN.
    """
    sums = np.zeros((len(weights), num_topics, values.shape[1]))
    for topic in range(num_topics):
        rows = topic_ids == topic
        sums[:, topic] = weights[:, rows].astype(np.float64) @ values[rows].astype(np.float64)
    return sums


def interval(draws: np.ndarray, units: np.ndarray | int) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval (95%) over the first axis.

    Args:
        draws: (B, …); NaN where a draw holds none of the units and so says nothing.
        units: groups behind each value, broadcast to (…).

    Returns:
        Percentiles of the draws that say something; NaN without draws, where fewer than half of
        them do, and for fewer than 3 units, whose spread nobody knows.
    """
    missing = np.isnan(draws)
    unknown = (np.broadcast_to(units, draws.shape[1:]) < FEWEST_FOR_INTERVAL) | (
        2 * missing.sum(axis=0) > len(draws)
    )
    if not len(draws) or unknown.all():
        empty = np.full(draws.shape[1:], np.nan)
        return empty, empty
    quantile = np.nanquantile if missing.any() else np.quantile
    levels = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    low, high = quantile(np.where(unknown, 0.0, draws), levels, axis=0)
    return np.where(unknown, np.nan, low), np.where(unknown, np.nan, high)
