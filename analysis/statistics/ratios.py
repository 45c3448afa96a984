"""Shares of choices, one topic against all."""

import numpy as np

PSEUDO_COUNT = 0.5  # choices added to every cell of a ratio, so that an empty one stays finite


def log2_ratios(sums: np.ndarray) -> np.ndarray:
    """log2 of a topic's share of choices over the mean share of all topics.

    Args:
        sums: (…, T, L, E) choices. Half a choice is added to every cell.
    """
    smoothed = sums + PSEUDO_COUNT
    shares = smoothed / smoothed.sum(axis=-1, keepdims=True)
    return np.log2(shares / shares.mean(axis=-3, keepdims=True))
