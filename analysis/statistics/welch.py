"""Topics compared by the shares of their groups, each topic with a variance of its own.

A sum over tokens weighs long documents, and a pooled variance takes a topic of short or uneven
documents for one that differs. Here each group gives one share, each topic the mean and the
variance of its groups' shares, and what is permuted is a studentised statistic, which keeps its
level where topics differ in length and spread (Chung and Romano 2013, arXiv 1304.5939; for many
dimensions W*_d of Hamidi et al. 2019, doi 10.1186/s40168-019-0659-9).
"""

from dataclasses import dataclass

import numpy as np

SHRUNK = 0.4  # of a cell's variance; least false positives over all unkind corpora


@dataclass(frozen=True)
class ShareMoments:
    """What is added up by topic under each permutation.

    Attributes:
        columns: (U, 3·E + 4) powers 1 to 3 of each unit's weighted deviation from the pooled
            share, then powers 1 to 3 of its weight w, and w² / tokens.
        pooled: (E) share of all groups.
        spread: (E) variance of single groups' deviations, all topics together.
        noise: (E) variance of the share of a single token, the least there can be.
    """

    columns: np.ndarray
    pooled: np.ndarray
    spread: np.ndarray
    noise: np.ndarray


@dataclass(frozen=True)
class TopicShares:
    """Shares of topics, as means over their groups.

    Attributes:
        share: (…, T, E) deviation of the mean share from the pooled one.
        variance: (…, T, E) of that mean.
        total: (…, T, 1) the topic's own variance, over all experts in the χ² metric.
        third: (…, T, E) third cumulant of the mean.
    """

    share: np.ndarray
    variance: np.ndarray
    total: np.ndarray
    third: np.ndarray


def group_weights(tokens: np.ndarray) -> np.ndarray:
    """Weight of each unit: its tokens, up to those of the median unit, which weighs 1."""
    held = tokens[tokens > 0]
    median = max(float(np.median(held)), 1.0) if len(held) else 1.0
    return np.minimum(tokens, median) / median


def share_moments(sums: np.ndarray, tokens: np.ndarray) -> ShareMoments:
    """Prepares the choices of one layer.

    Args:
        sums: (U, E) choices of each unit.
        tokens: (U) its tokens.
    """
    weight = group_weights(tokens)[:, None]
    shares = sums / np.maximum(tokens, 1)[:, None]
    pooled = (weight * shares).sum(axis=0) / max(weight.sum(), 1e-12)
    columns, spread = _powers(shares - pooled, tokens)
    return ShareMoments(columns, pooled, spread, pooled * np.maximum(1 - pooled, 0))


def residual_moments(
    observed: np.ndarray, expected: np.ndarray, tokens: np.ndarray
) -> ShareMoments:
    """The same for what is left of the choices of units after an expectation.

    Args:
        observed: (U, E) choices of each unit.
        expected: (U, E) what was to be expected of them.
        tokens: (U) tokens; units without any weigh nothing.
    """
    weight = group_weights(tokens)[:, None]
    held = np.maximum(tokens, 1)[:, None]
    pooled = (weight * observed / held).sum(axis=0) / max(weight.sum(), 1e-12)
    residual = (observed - expected) / held
    centre = (weight * residual).sum(axis=0) / max(weight.sum(), 1e-12)
    columns, spread = _powers(residual - centre, tokens)
    return ShareMoments(columns, pooled, spread, np.zeros_like(pooled))


def _powers(deviation: np.ndarray, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns of `ShareMoments` and the variance of single units (E)."""
    weight = group_weights(tokens)[:, None]
    weighted = weight * deviation
    powers = [weighted, weighted**2, weighted**3]
    totals = [weight, weight**2, weight**3, weight**2 / np.maximum(tokens, 1)[:, None]]
    spread = (weighted**2).sum(axis=0) / max((weight**2).sum(), 1e-12)
    return np.concatenate([*powers, *totals], axis=1), spread


def topic_shares(moments: ShareMoments, added: np.ndarray) -> TopicShares:
    """Turns sums by topic into means, their variances and third cumulants.

    A variance is the topic's own, but not below what single tokens alone would give, p(1 − p)/n:
    an expert that no group of a topic happened to choose would look certain. That of a cell is
    drawn towards the topic's total spread divided over the experts as that of all groups is
    (`SHRUNK`), by the same part in every topic: a bound from below would raise variances by more
    where groups of unlike spread are mixed, as permutations mix them, than where each topic has
    its own, and find a topic of uneven groups unlike the others.

    Args:
        moments: of the layer.
        added: (…, T, 3·E + 4) sums of its columns.
    """
    experts = len(moments.pooled)
    first, second, third = (added[..., i * experts : (i + 1) * experts] for i in range(3))
    weight, weight2, weight3, noise = (added[..., [3 * experts + i]] for i in range(4))
    weight, weight2 = np.maximum(weight, 1e-12), np.maximum(weight2, 1e-12)
    share = first / weight
    effective = weight**2 / weight2
    unbiased = effective / np.maximum(effective - 1, 0.5)
    own = np.maximum(second - share**2 * weight2, 0) / weight**2 * unbiased
    own = np.maximum(own, moments.noise * noise / weight**2)
    metric = chi_square_metric(moments.pooled)
    total = (own * metric).sum(axis=-1, keepdims=True)
    profile = moments.spread / max(float((moments.spread * metric).sum()), 1e-30)
    cubes = third - 3 * share * second * (weight3 / weight2) + 2 * share**3 * weight3
    variance = (1 - SHRUNK) * own + SHRUNK * total * profile
    return TopicShares(share, variance, total, cubes / weight**3)


def chi_square_metric(pooled: np.ndarray) -> np.ndarray:
    """1 / p for each expert, in which squared distances are χ² / n; 0 for an unused one."""
    return np.divide(1.0, pooled, out=np.zeros_like(pooled), where=pooled > 0)


def welch_statistic(topics: TopicShares, pooled: np.ndarray) -> np.ndarray:
    """Σ_t ‖m_t − m‖² / v_t in the χ² metric, v_t the variance of m_t over all experts: (…).

    m is the mean of the m_t with weights 1 / v_t.
    """
    precision = 1 / np.maximum(topics.total, 1e-30)
    return welch_product(precision, topics.share, topics.share, chi_square_metric(pooled))


def welch_product(
    precision: np.ndarray, first: np.ndarray, second: np.ndarray, metric: np.ndarray
) -> np.ndarray:
    """Σ_t ⟨a_t − a, b_t − b⟩ · w_t, with a and b the means of weights w: (…).

    Args:
        precision: (…, T, 1) w.
        first: (…, T, E) a_t.
        second: (…, T, E) b_t.
        metric: (E) of the inner product.
    """
    share = precision / precision.sum(axis=-2, keepdims=True)
    first = first - (share * first).sum(axis=-2, keepdims=True)
    other = second - (share * second).sum(axis=-2, keepdims=True)
    product: np.ndarray = (precision * metric * first * other).sum(axis=(-2, -1))
    return product


def cell_statistics(topics: TopicShares) -> np.ndarray:
    """Deviation of each topic's share from the mean of all topics, in standard errors: (…, T, E).

    Corrected for skewness by Hall's cubic transformation (Hall 1992, J. R. Stat. Soc. B 54, 221):
    t + a(2t² + 1)/6 + 4a²t³/27 with the skewness a of the deviation. It grows with t.
    """
    number = topics.share.shape[-2]
    deviation = topics.share - topics.share.mean(axis=-2, keepdims=True)
    error = np.sqrt(np.maximum(deviation_variance(topics.variance), 1e-30))
    cubes = topics.third.sum(axis=-2, keepdims=True) - topics.third
    skew = ((1 - 1 / number) ** 3 * topics.third - cubes / number**3) / error**3
    t = deviation / error
    corrected: np.ndarray = t + skew * (2 * t**2 + 1) / 6 + 4 * skew**2 * t**3 / 27
    return corrected


def deviation_variance(variance: np.ndarray) -> np.ndarray:
    """Variance of a topic's share less the mean share, from those of the shares (…, T, E)."""
    number = variance.shape[-2]
    rest = variance.sum(axis=-2, keepdims=True) / number**2
    both: np.ndarray = (1 - 2 / number) * variance + rest
    return both
