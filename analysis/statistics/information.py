"""Entropies and divergences of distributions over experts, in bits."""

import numpy as np


def entropy_bits(weights: np.ndarray) -> np.ndarray:
    """Shannon entropy of the last axis, normalised first; 0 where the sum is 0."""
    total = weights.sum(axis=-1, keepdims=True)
    shares = np.divide(weights, total, out=np.zeros(weights.shape), where=total > 0)
    logs = np.log2(shares, out=np.zeros_like(shares), where=shares > 0)
    return -(shares * logs).sum(axis=-1)


def information_bits(sums: np.ndarray) -> np.ndarray:
    """I = H(mean_t p(e | t)) − mean_t H(p(e | t)), topics weighted equally.

    The generalised Jensen–Shannon divergence of the topics' expert distributions (Lin 1991).

    Args:
        sums: (…, T, L, E) choices.

    Returns:
        (…, L), between 0 and log2 min(T, E).
    """
    totals = np.maximum(sums.sum(axis=-1, keepdims=True), 1)
    shares = sums / totals
    return entropy_bits(shares.mean(axis=-3)) - entropy_bits(shares).mean(axis=-2)


def mutual_information_bits(counts: np.ndarray) -> float:
    """I(x; e) of a table of counts (V, E), plug-in."""
    if not counts.sum():
        return 0.0
    rows = counts.sum(axis=1)
    inner = float((rows * entropy_bits(counts.astype(float))).sum() / counts.sum())
    return float(entropy_bits(counts.sum(axis=0).astype(float))) - inner


def divergence_bits(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Jensen–Shannon divergence of two distributions over the last axis: 0 to 1 (Lin 1991)."""
    middle: np.ndarray = entropy_bits((first + second) / 2)
    return middle - (entropy_bits(first) + entropy_bits(second)) / 2
