"""How large an information is: an estimate of little bias, and an interval.

Labels (topics, periods) are compared by the mean shares of their groups. Noise of these means
makes a plug-in information too large, by about as much as there are labels and experts and by more
where groups are few.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from .information import entropy_bits
from .units import Units
from .welch import chi_square_metric, group_weights

SCALES = 24  # sizes of the effect that an interval tries
LEVEL = 0.95


@dataclass(frozen=True)
class GroupShares:
    """Shares of the groups of one layer.

    Attributes:
        units: groups by label.
        weighted: (U, E) share of each unit times its weight.
        weight: (U).
        means: (T, E) mean share of each label.
    """

    units: Units
    weighted: np.ndarray
    weight: np.ndarray
    means: np.ndarray


def group_shares(sums: np.ndarray, tokens: np.ndarray, units: Units) -> GroupShares:
    """Shares of choices, from the choices of units (U, E) and their tokens (U)."""
    weight = group_weights(tokens)
    totals = np.maximum(sums.sum(axis=1), 1)
    weighted = sums * (weight / totals)[:, None]
    means = np.zeros((units.num_topics, sums.shape[1]))
    for label in range(units.num_topics):
        rows = units.topics == label
        means[label] = weighted[rows].sum(axis=0) / max(weight[rows].sum(), 1e-12)
    return GroupShares(units, weighted, weight, means)


def share_information(shares: np.ndarray) -> np.ndarray:
    """H(mean_t p_t) − mean_t H(p_t) in bits, of shares (…, T, E): (…)."""
    bits: np.ndarray = entropy_bits(shares.mean(axis=-2)) - entropy_bits(shares).mean(axis=-1)
    return bits


def jackknife_bits(shares: GroupShares) -> float:
    """Information less its bias, estimated by leaving out each group in turn.

    I − Σ_g (n − 1)/n · (I₋g − I), with n the groups of g's label: the jackknife of a stratified
    sample (Jones 1974, doi 10.1093/biomet/61.1.73). NaN where a label has a single group.
    """
    units, weight = shares.units, shares.weight
    if units.per_topic.min() < 2:
        return float("nan")
    rest = np.zeros(units.num_topics)
    np.add.at(rest, units.topics, weight)
    total = rest[units.topics]
    own = shares.means[units.topics]
    left = (own * total[:, None] - shares.weighted) / np.maximum(total - weight, 1e-12)[:, None]
    left = np.maximum(left, 0)
    entropies = entropy_bits(shares.means)
    inner = _by_group(units, entropy_bits(left) - entropies[units.topics]) / units.num_topics
    moved = _by_group(units, left - own) / units.num_topics
    centre = shares.means.mean(axis=0)
    outer = entropy_bits(np.maximum(centre + moved, 0)) - entropy_bits(centre)
    count = np.bincount(units.groups)
    factor = _by_group(units, 1 - 1 / units.per_topic[units.topics]) / count
    bias = float((factor * (outer - inner)).sum())
    return float(share_information(shares.means)) - bias


def bootstrap_noise(shares: GroupShares, weights: np.ndarray) -> np.ndarray:
    """Deviations of the labels' mean shares in each draw: (B, T, E).

    Brought to the variance of a mean of n groups: a draw of N groups deviates by √(n/N) of that,
    and the spread of a sample lacks the factor √(n/(n − 1)).

    Args:
        shares: of the layer.
        weights: (B, G) weight of each group in each draw; a draw that lacks a label is left out.
    """
    units = shares.units
    of_units = weights[:, units.groups].astype(np.float64)
    sums = np.zeros((len(weights), *shares.means.shape))
    mass = np.zeros((len(weights), units.num_topics, 1))
    for label in range(units.num_topics):
        rows = units.topics == label
        sums[:, label] = of_units[:, rows] @ shares.weighted[rows]
        mass[:, label, 0] = of_units[:, rows] @ shares.weight[rows]
    held = (mass > 0).all(axis=(1, 2))
    total = np.bincount(units.topics, shares.weight, units.num_topics)
    effective = total**2 / np.bincount(units.topics, shares.weight**2, units.num_topics)
    drawn = mass[held] / total[:, None]
    scale = np.sqrt(drawn * (effective / np.maximum(effective - 1, 0.5))[:, None])
    noise: np.ndarray = (sums[held] / mass[held] - shares.means) * scale
    return noise


@dataclass(frozen=True)
class ScaledEffect:
    """The corpus as it would come out with its effect made weaker or stronger.

    Attributes:
        size: (C) information in bits if the effect were so large, ascending from 0.
        drawn: (C, B, T, E) mean shares that the groups would then give.
    """

    size: np.ndarray
    drawn: np.ndarray


def scaled_effect(shares: GroupShares, noise: np.ndarray) -> ScaledEffect:
    """Shrinks and stretches the differences of labels, and adds the noise of the groups.

    Mean shares m̄ + c·(m_t − m̄) for c from 0 to well above what noise could hide, plus noise.

    Args:
        shares: of the layer.
        noise: (B, T, E) `bootstrap_noise`.
    """
    means, centre = shares.means, shares.means.mean(axis=0)
    metric = chi_square_metric(centre)
    length = np.sqrt(((means - centre) ** 2 * metric).sum())
    width = np.sqrt((noise**2 * metric).sum(axis=(1, 2)).mean()) if len(noise) else 0.0
    largest = 1 + 4 * width / max(length, 1e-9)
    scales = np.linspace(0, largest, SCALES)[:, None, None]
    true = normalised_shares(centre + scales * (means - centre))  # (C, T, E)
    return ScaledEffect(share_information(true), normalised_shares(true[:, None] + noise))


def information_interval(shares: GroupShares, effect: ScaledEffect) -> tuple[float, float]:
    """95% interval: the sizes of effect under which the corpus is not unusual.

    A size is kept where the observed information lies within the central 95% of what
    `scaled_effect` draws under it; on the scale of its square root these are nearly normal. From
    0, where no effect is compatible. So it holds the truth of weak effects, too, near which a
    bootstrap of the information itself never comes down to 0.
    """
    if effect.drawn.shape[1] < 2:
        return float("nan"), float("nan")
    observed = float(share_information(shares.means))
    drawn = share_information(effect.drawn)  # (C, B)
    gains = drawn.mean(axis=1) - effect.size
    bias = observed - jackknife_bits(shares)
    roots = np.sqrt(np.maximum(drawn + bias - np.interp(observed, effect.size, gains), 0))
    z = np.sqrt(max(observed, 0)) - roots.mean(axis=1)
    z = z / np.maximum(roots.std(axis=1), 1e-12)
    freedom = max(len(shares.units.topics) - shares.units.num_topics, 1)
    edge = float(stats.t.ppf((1 + LEVEL) / 2, freedom))
    z = np.minimum.accumulate(z)  # the larger the effect, the smaller the observed looks
    low, high = (float(np.interp(-limit, -z, effect.size)) for limit in (edge, -edge))
    return low, high


def _by_group(units: Units, values: np.ndarray) -> np.ndarray:
    """Adds values of units (U, …) by group: (G, …)."""
    sums = np.zeros((units.num_groups, *values.shape[1:]))
    np.add.at(sums, units.groups, values)
    return sums


def normalised_shares(shares: np.ndarray) -> np.ndarray:
    """Shares with what fell below 0 cut off, adding up to 1."""
    kept = np.maximum(shares, 0)
    normalised: np.ndarray = kept / np.maximum(kept.sum(axis=-1, keepdims=True), 1e-30)
    return normalised
