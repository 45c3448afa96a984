"""What a test would have found: effects of growing size on top of what permutations make of it.

A result of none says little without it. The noise is that of permuted labels, brought to the spread
that each label's own groups have; the effect has no particular direction, so that what the corpus
happens to look like does not decide about its size.
"""

import numpy as np

from .information_size import normalised_shares, share_information
from .label_test import LabelTest
from .welch import chi_square_metric, welch_product

POWER = 0.80
EFFECTS = 800  # at least, over all permutations
SEED = 0  # the directions are a design, the same for every layer and corpus


def detectable_bits(test: LabelTest, critical: float, power: float = POWER) -> float:
    """Smallest information that the test of a layer finds with the given power; NaN if unknown.

    With noise x, effect c·y and variances v the statistic is W(c) = W(x, x) + 2c·W(x, y) +
    c²·W(y, y): under each permutation it reaches what is asked from one c on, and the c that
    suffices for 80% of them is turned into bits.

    Args:
        test: of the layer.
        critical: what `welch.welch_statistic` must reach.
        power: wanted.
    """
    share, total = test.permuted_share, test.permuted_total
    if not len(share):
        return float("nan")
    times = -(-EFFECTS // len(share))
    metric = chi_square_metric(test.pooled)
    own = test.shares.total / np.maximum(total.mean(axis=0), 1e-30)  # (T, 1)
    noise = np.tile(share * np.sqrt(own), (times, 1, 1))
    precision = 1 / np.maximum(np.tile(total * own, (times, 1, 1)), 1e-30)
    effects = _directions(test.pooled, noise.shape)
    alone, both, squared = (
        welch_product(precision, first, second, metric)
        for first, second in ((noise, noise), (noise, effects), (effects, effects))
    )
    if squared.min() <= 0:  # a single expert takes all tokens: nothing could differ
        return float("nan")
    root = both**2 - squared * (alone - critical)
    needed = np.where(root > 0, (np.sqrt(np.maximum(root, 0)) - both) / squared, 0)
    size = float(np.quantile(np.maximum(needed, 0), power))
    bits: float = share_information(normalised_shares(test.pooled + size * effects)).mean()
    return bits


def _directions(pooled: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Differences (N, T, E) of labels, each expert's in proportion to its share, of length 1.

    Experts take theirs in the order of their shares, whatever their numbers.
    """
    odds = np.random.default_rng(SEED).normal(size=shape)[..., np.argsort(np.argsort(pooled))]
    odds -= odds.mean(axis=-2, keepdims=True)
    effects = pooled * (odds - (pooled * odds).sum(axis=-1, keepdims=True) / pooled.sum())
    length = np.sqrt((effects**2 * chi_square_metric(pooled)).sum(axis=(-2, -1), keepdims=True))
    directions: np.ndarray = effects / np.maximum(length, 1e-30)
    return directions
