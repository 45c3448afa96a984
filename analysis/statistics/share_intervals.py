"""Intervals of shares and of their ratios, from groups of unlike sizes.

On the scale of log-odds and of logarithms, with Student's quantiles: percentiles of a bootstrap
are too short below some thirty groups, and further off for rare experts.
"""

import numpy as np
from scipy import stats

LEVEL = 0.95


def mean_variance(sums: np.ndarray, tokens: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Mean share and the variance of it, from the groups of one label: (2, E).

    Variance of a weighted mean of n_eff groups, but no less than tokens alone give, p(1 − p)/n,
    with one token more on the expert than were seen.

    Args:
        sums: (U, E) choices of each group.
        tokens: (U).
        weight: (U) of each group.
    """
    shares = sums / np.maximum(tokens, 1)[:, None]
    total, squares = weight.sum(), (weight**2).sum()
    mean = (weight[:, None] * shares).sum(axis=0) / total
    effective = total**2 / squares
    spread = ((weight[:, None] * (shares - mean)) ** 2).sum(axis=0) / total**2
    spread *= effective / max(effective - 1, 0.5)
    noise = (weight**2 / np.maximum(tokens, 1)).sum() / total**2
    return np.stack([mean, np.maximum(spread, (mean + noise) * np.maximum(1 - mean, 0) * noise)])


def half_token(tokens: np.ndarray, weight: np.ndarray) -> float:
    """Half a token as a share of what a label's groups hold: keeps an empty cell finite."""
    noise = float((weight**2 / np.maximum(tokens, 1)).sum() / weight.sum() ** 2)
    return 0.5 * noise


def share_interval(
    mean: np.ndarray, variance: np.ndarray, half: np.ndarray, groups: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """95% interval of shares (…), on the scale of log-odds.

    Args:
        mean: (…) shares.
        variance: (…) of them.
        half: (…) `half_token`, added to a share and to its rest.
        groups: (…) effective number of groups; NaN below 3, whose spread nobody knows.
    """
    inside = np.clip((mean + half) / (1 + 2 * half), 1e-12, 1 - 1e-12)
    odds = np.log(inside / (1 - inside))
    width = quantile(groups) * np.sqrt(variance) / (inside * (1 - inside))
    return 1 / (1 + np.exp(width - odds)), 1 / (1 + np.exp(-width - odds))


def log2_ratio(mean: np.ndarray, half: np.ndarray) -> np.ndarray:
    """log2 of each label's share over the mean share of all labels (T, …)."""
    smoothed = mean + half
    ratio: np.ndarray = np.log2(smoothed / smoothed.mean(axis=0))
    return ratio


def log2_ratio_error(mean: np.ndarray, variance: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Standard error of `log2_ratio` by the delta method: (T, …)."""
    smoothed, number = mean + half, len(mean)
    centre = smoothed.mean(axis=0)
    own = variance * (1 / smoothed - 1 / (number * centre)) ** 2
    rest = variance / (number * centre) ** 2
    error: np.ndarray = np.sqrt(own + rest.sum(axis=0) - rest) / np.log(2)
    return error


def quantile(groups: np.ndarray, intervals: int = 1) -> np.ndarray:
    """Student's two-sided 95% quantile for means of so many groups; NaN below 3.

    Args:
        groups: (…) effective number of them.
        intervals: how many are to hold at once (Bonferroni).
    """
    known = np.where(np.asarray(groups) >= 3 - 1e-9, groups, np.nan)
    result: np.ndarray = stats.t.ppf(1 - (1 - LEVEL) / (2 * intervals), known - 1)
    return result
