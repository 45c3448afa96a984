"""E3, topic information: how much an expert's name tells about the topic of its token."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ....configs.progress import progress_bar
from ...data.documents import DocumentCounts
from ...statistics.detectable import detectable_bits
from ...statistics.information import information_bits
from ...statistics.information_size import (
    bootstrap_noise,
    group_shares,
    information_interval,
    jackknife_bits,
    scaled_effect,
    share_information,
)
from ...statistics.label_test import LabelTest, label_test
from ...statistics.null_test import NullTest, null_test
from ...statistics.permutations import topic_sums
from ...statistics.units import permuted_labels
from ...statistics.welch import share_moments

# Bands of the information as a share of log2 T. Known points, plug-in: Mixtral 0.1–0.4%, OLMoE
# 7–22%.
BANDS = ((0.005, "negligible"), (0.02, "weak"), (0.10, "moderate"), (np.inf, "strong"))
ABSENT = BANDS[0][0]  # an effect whose interval lies below this is said to be absent
NO_BAND = "none"


def effect_band(share: float) -> str:
    """Names the size of a topic information given as a share of log2 T."""
    return next(name for limit, name in BANDS if share < limit)


def interval_band(low: float, high: float) -> str:
    """Names the sizes that an interval holds: one band, or "weak to moderate"; "none" without."""
    if np.isnan(low) or np.isnan(high):
        return NO_BAND
    ends = effect_band(low), effect_band(high)
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


@dataclass(frozen=True)
class TopicTests:
    """The corpus as it is and with topics permuted over groups, layer by layer.

    Attributes:
        layers: (L) what labels have to do with the choices of a layer.
        permutations: P.
    """

    layers: list[LabelTest]
    permutations: int

    @property
    def largest(self) -> np.ndarray:
        """(P) largest |cell| of each permutation, over all layers, topics and experts."""
        largest: np.ndarray = np.max([layer.largest for layer in self.layers], axis=0)
        return largest


def topic_tests(
    data: DocumentCounts, permutations: int, generator: np.random.Generator
) -> TopicTests:
    """Runs every permutation once, for the information of layers and the test of cells.

    Args:
        data: per-document counts, untouched tokens.
        permutations: P.
        generator: draws them.
    """
    units = data.units
    labels = permuted_labels(units, permutations, generator)
    tokens, layers = units.sums(data.tokens), []
    with progress_bar("permuting groups", len(data.layers), "layers") as advance:
        for layer in range(len(data.layers)):
            moments = share_moments(units.sums(data.counts[:, layer]), tokens)
            layers.append(label_test(moments, labels, units.num_topics))
            advance(1)
    return TopicTests(layers, permutations)


def topic_information(data: DocumentCounts, tests: TopicTests, weights: np.ndarray) -> pd.DataFrame:
    """Topic information of each layer, with little bias from the number of groups.

    Args:
        data: per-document counts, untouched tokens.
        tests: of the same data.
        weights: (B, D) bootstrap weights; documents of a group share theirs.

    Returns:
        One row per layer: `bits` of information of the topics' mean shares, jackknifed over groups
        (plug-in where a topic has a single group), with its 95% interval `low`, `high` (NaN below
        3 groups in a topic), `share` of log2 T (+ `share_low`, `share_high`), `band` of the
        interval ("none" without one), `absent` (the interval lies below 0.5% of log2 T),
        `detectable_bits`, `detectable_share` (smallest effect that about 80% of such corpora would
        show), `plug_in_bits` (of token counts, as published figures are), `null_bits` (mean of the
        plug-in of mean shares under permutation) with its central 95% `null_low`, `null_high`,
        `p_value`, `family_p_value` (over layers, by the maximum), `q_value` (false discovery rate;
        all NaN when a topic has fewer than 10 groups), `max_bits` (log2 T), `topics`, `groups`,
        `fewest_groups`, `grouped` (whether groups were given), `documents`, `tokens`,
        `permutations`.
    """
    units, topics = data.units, len(data.topics)
    statistics = np.column_stack([layer.statistic for layer in tests.layers])  # (P + 1, L)
    null = np.column_stack([layer.information[1:] for layer in tests.layers])
    test = null_test(statistics[0], statistics[1:], testable=units.suffice)
    critical = _critical(statistics[1:]) if units.suffice else np.full(len(data.layers), np.nan)
    sizes = np.array(
        [
            _size(data, layer, tests.layers[layer], weights, critical[layer])
            for layer in range(len(data.layers))
        ]
    )  # (L, 4)
    bits, low, high, detectable = sizes.T
    max_bits = np.log2(topics) if topics > 1 else np.nan
    null_low, null_high = np.quantile(null, [0.025, 0.975], axis=0)
    return pd.DataFrame(
        {
            "layer": data.layers,
            "bits": bits,
            "low": low,
            "high": high,
            "share": bits / max_bits,
            "share_low": low / max_bits,
            "share_high": high / max_bits,
            "band": list(map(interval_band, low / max_bits, high / max_bits)),
            "absent": high / max_bits < ABSENT,
            "detectable_bits": detectable,
            "detectable_share": detectable / max_bits,
            "plug_in_bits": information_bits(topic_sums(data.counts, data.topic_ids, topics)),
            "null_bits": null.mean(axis=0),
            "null_low": null_low,
            "null_high": null_high,
            **_p_values(test),
            "max_bits": max_bits,
            "topics": topics,
            "groups": units.num_groups,
            "fewest_groups": int(units.per_topic.min()),
            "grouped": data.groups is not None,
            "documents": len(data.ids),
            "tokens": int(data.tokens.sum()),
            "permutations": tests.permutations,
        }
    )


def _p_values(test: NullTest) -> dict[str, np.ndarray]:
    return {
        "p_value": test.p_value,
        "family_p_value": test.family_p_value,
        "q_value": test.q_value,
    }


def _critical(null: np.ndarray) -> np.ndarray:
    """What a layer's statistic must reach to be family-wise significant at 5%: (L)."""
    mean, spread = null.mean(axis=0), null.std(axis=0)
    largest = ((null - mean) / np.where(spread > 0, spread, 1.0)).max(axis=1)
    critical: np.ndarray = mean + np.quantile(largest, 0.95) * spread
    return critical


def _size(
    data: DocumentCounts, layer: int, test: LabelTest, weights: np.ndarray, critical: float
) -> tuple[float, float, float, float]:
    """Bits, the ends of their interval, and the bits that the test would find."""
    units = data.units
    shares = group_shares(units.sums(data.counts[:, layer]), units.sums(data.tokens), units)
    plug_in = float(share_information(shares.means))
    fewest = int(units.per_topic.min())
    if units.num_topics < 2 or fewest < 3 or not len(weights):
        corrected = jackknife_bits(shares) if fewest > 1 else plug_in
        return corrected, np.nan, np.nan, np.nan
    bits = jackknife_bits(shares)
    firsts = np.unique(units.of_documents, return_index=True)[1]  # first document of each unit
    of_groups = np.unique(units.groups, return_index=True)[1]
    effect = scaled_effect(shares, bootstrap_noise(shares, weights[:, firsts[of_groups]]))
    low, high = information_interval(shares, effect)
    found = np.nan
    if not np.isnan(critical):
        found = detectable_bits(test, critical)
    return bits, min(low, bits), max(high, bits), found
