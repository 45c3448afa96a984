"""Values that rise or fall with time, where observations differ in length and spread."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Trends:
    """Weighted regressions of C variables on time, under each of P orders of the times.

    Attributes:
        correlations: (P, C).
        slopes: (P, C) per unit of time.
        statistics: (P, C) covariance over its standard error, which lets the spread of the values
            go with time.
    """

    correlations: np.ndarray
    slopes: np.ndarray
    statistics: np.ndarray


def weighted_trends(times: np.ndarray, values: np.ndarray, weights: np.ndarray) -> Trends:
    """Correlates times with values.

    The statistic is Σ w x y / √Σ (w x y)² with x and y less their weighted means (White 1980).
    Permuted, it keeps its level where the spread of y goes with x, as where texts grow longer with
    the years; the correlation itself does not (DiCiccio and Romano 2017,
    doi 10.1080/01621459.2016.1202117).

    Args:
        times: (P, B) time of each observation under each permutation.
        values: (B, C).
        weights: (B).
    """
    share = weights / weights.sum()
    centred = values - share @ values
    offset = times - (times @ share)[:, None]
    products = (offset * share) @ centred
    variance = (offset**2) @ share
    scale = np.sqrt(variance)[:, None] * np.sqrt(share @ centred**2)
    error = np.sqrt((offset * share) ** 2 @ centred**2)
    return Trends(
        correlations=_ratio(products, scale),
        slopes=_ratio(products, np.broadcast_to(variance[:, None], products.shape)),
        statistics=_ratio(products, error),
    )


def capped_weights(sizes: np.ndarray) -> np.ndarray:
    """Weights of observations of unlike sizes: as their size, but none above that of the median."""
    median = max(float(np.median(sizes)), 1.0)
    return np.minimum(sizes, median) / median


def _ratio(values: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return np.divide(values, scale, out=np.zeros_like(values), where=scale > 1e-12)
