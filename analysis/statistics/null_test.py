"""A statistic against its null: the one way in which the report makes p-values.

The observed statistic and those of the permutations come out of one computation in one precision,
and what differs by rounding alone counts as a tie. So p is never below 1 / (P + 1), nor below what
the number of different arrangements allows.
"""

from dataclasses import dataclass

import numpy as np

from .permutations import TIE, family_wise_p, permutation_p


@dataclass(frozen=True)
class NullTest:
    """What chance gives, and how rarely it gives as much.

    Attributes:
        mean: (…) of the null.
        low: (…) its 2.5% quantile.
        high: (…) its 97.5% quantile.
        p_value: (…) share of permutations at least as large.
        family_p_value: (…) the same for the largest of the family, each member standardised.
        q_value: (…) false discovery rate (Benjamini and Hochberg 1995).
    """

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p_value: np.ndarray
    family_p_value: np.ndarray
    q_value: np.ndarray


def null_test(observed: np.ndarray, null: np.ndarray, *, testable: bool = True) -> NullTest:
    """Tests every member of a family, large values against chance.

    Args:
        observed: (…) statistics.
        null: (P, …) the same under each permutation.
        testable: whether the corpus allows a p-value; all are NaN if not.
    """
    mean, spread = null.mean(axis=0), null.std(axis=0)
    low, high = np.quantile(null, [0.025, 0.975], axis=0)
    unknown = np.full(np.shape(observed), np.nan)
    if not testable:
        return NullTest(mean, low, high, unknown, unknown, unknown)
    scale = np.where(spread > TIE * np.abs(mean), spread, 1.0)
    p_value = permutation_p(observed, null)
    family_p = family_wise_p((observed - mean) / scale, (null - mean) / scale)
    return NullTest(mean, low, high, p_value, family_p, false_discovery_q(p_value))


def largest_p(observed: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """P-values adjusted for the family, from its largest statistic in each permutation (P)."""
    ordered = np.sort(largest)
    floor = observed - TIE * np.maximum(1.0, np.abs(observed))
    exceeding = len(ordered) - np.searchsorted(ordered, floor, side="left")
    p_value: np.ndarray = (exceeding + 1) / (len(ordered) + 1)
    return p_value


def false_discovery_q(p_values: np.ndarray) -> np.ndarray:
    """Smallest false discovery rate at which each would be marked (Benjamini and Hochberg 1995).

    Args:
        p_values: (…) one family; NaN stays NaN and is no member.
    """
    flat = np.ravel(np.asarray(p_values, dtype=float))
    known = np.flatnonzero(~np.isnan(flat))
    order = known[np.argsort(flat[known])]
    scaled = flat[order] * len(order) / np.arange(1, len(order) + 1)
    q_values = np.full(flat.shape, np.nan)
    q_values[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return q_values.reshape(np.shape(p_values))
