"""How much of the topic information the words alone reproduce, between two bounds."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import stats

from ...data.sample import TokenSample
from ...statistics.information import information_bits
from ...statistics.information_size import LEVEL, group_shares, jackknife_bits
from ...statistics.units import Units, group_units
from .token_mix import mix_choices, other_topics_expectation, type_table

BLOCKS = 20  # of groups, at most, each of which is left out once
FEWEST_BLOCKS = 5  # for an interval


def word_bracket(
    sample: TokenSample, names: Sequence[object], generator: np.random.Generator
) -> dict[str, np.ndarray]:
    """Topic information in the sample and what the token mix reproduces of it, each (L).

    Bias and intervals by leaving out blocks of groups in turn (the jackknife; Tukey 1958): words,
    their routing and the topic information itself come from the same groups, and are left out
    together.

    Args:
        sample: untouched tokens of the sampled documents.
        names: group of each sampled document (S).
        generator: deals groups into blocks.

    Returns:
        `bits`, `lower_bits`, `upper_bits`, both also as shares of `bits` (`lower_share`,
        `upper_share`; NaN where it is not positive) with 95% intervals `…_low`, `…_high` (NaN
        below five groups in a topic).
    """
    blocks = group_blocks(group_units(names, sample.topic_ids, len(sample.topics)), generator)
    found = [
        _layer(replace(sample, layers=(number,), experts=sample.experts[:, [layer]]), names, blocks)
        for layer, number in enumerate(sample.layers)
    ]
    return {name: np.array([layer[name] for layer in found]) for name in found[0]}


def _layer(sample: TokenSample, names: Sequence[object], blocks: np.ndarray) -> dict[str, float]:
    """`word_bracket` of a sample of one layer."""
    number = int(blocks.max()) + 1
    whole, parts = word_bits(sample, names), np.full((number, 3), np.nan)
    if number > 1:
        parts = np.array(
            [word_bits(*without(sample, names, blocks == block)) for block in range(number)]
        )
    bias = (number - 1) * (parts[:, 2].mean() - whole[2])  # of the third alone: see `word_bits`
    whole[2] -= bias
    parts[:, 2] -= bias * number / max(number - 1, 1)
    found = dict(zip(("bits", "upper_bits", "lower_bits"), whole.tolist(), strict=True))
    freedom = number - 1 if number >= FEWEST_BLOCKS else np.nan
    for place, side in ((1, "upper"), (2, "lower")):
        share = whole[place] / whole[0] if whole[0] > 0 else np.nan
        spread = (parts[:, place] / np.where(parts[:, 0] > 0, parts[:, 0], np.nan)).std()
        half = stats.t.ppf((1 + LEVEL) / 2, freedom) * np.sqrt(number - 1) * spread
        ends = {"low": share - half, "high": share + half}
        found |= {f"{side}_share": share, **{f"{side}_share_{x}": end for x, end in ends.items()}}
    return found


def word_bits(sample: TokenSample, names: Sequence[object]) -> np.ndarray:
    """Bits of a layer, and of its token mix routed as everywhere and as in other topics: (3).

    Of the third alone the bias of few groups is left in.
    """
    units = group_units(names, sample.topic_ids, len(sample.topics))
    tokens = np.bincount(units.of_documents[sample.documents], minlength=len(units.topics))
    types = type_table(sample)
    observed, pooled = mix_choices(sample, types)
    known = int(units.per_topic.min()) > 1
    bits, upper = (
        jackknife_bits(group_shares(units.sums(choices), tokens, units)) if known else np.nan
        for choices in (observed, pooled)
    )
    elsewhere = other_topics_expectation(sample, types, observed, sample.topic_ids)
    return np.array([bits, upper, information_bits(elsewhere[:, None])[0]])


def group_blocks(units: Units, generator: np.random.Generator) -> np.ndarray:
    """Deals whole groups into blocks of about as many groups of each topic: (S) of documents."""
    number = min(BLOCKS, int(units.per_topic.min()))
    first = np.unique(units.groups, return_index=True)[1]
    order = generator.permutation(units.num_groups)
    order = order[np.argsort(units.topics[first][order], kind="stable")]
    of_groups = np.empty(units.num_groups, dtype=np.int64)
    of_groups[order] = np.arange(units.num_groups) % max(number, 1)
    of_documents: np.ndarray = of_groups[units.groups][units.of_documents]
    return of_documents


def without(
    sample: TokenSample, names: Sequence[object], left_out: np.ndarray
) -> tuple[TokenSample, list[object]]:
    """The sample less some of its documents (S), and the groups of the others."""
    kept = np.flatnonzero(~left_out)
    tokens = np.flatnonzero(~left_out[sample.documents])
    number = np.cumsum(~left_out) - 1
    present, types = np.unique(sample.types[tokens], return_inverse=True)
    rest = replace(
        sample,
        rows=sample.rows[kept],
        topic_ids=sample.topic_ids[kept],
        documents=number[sample.documents[tokens]],
        positions=sample.positions[tokens],
        types=types,
        token_ids=sample.token_ids[present],
        experts=sample.experts[tokens],
    )
    return rest, [names[row] for row in kept.tolist()]
