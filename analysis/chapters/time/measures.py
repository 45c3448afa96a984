"""E15, time: do experts come and go with the years?

What is permuted and resampled is the block, not the document: the paragraphs of one speech share a
date and a speaker, and the speeches of one speaker share a voice and a decade. Each block is one
observation of its time.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...data.documents import DocumentCounts
from ...data.run import RunData
from ...statistics.bootstrap import bootstrap_topic_sums, interval
from ...statistics.draws import Draws
from ...statistics.label_test import label_test
from ...statistics.null_test import family_wise_p, null_test
from ...statistics.permutations import document_orders, topic_sums
from ...statistics.strata import quantile_strata
from ...statistics.trends import capped_weights, weighted_trends
from ...statistics.units import MIN_GROUPS_FOR_P
from ...statistics.welch import share_moments
from .conditions import condition_losses
from .dates import MOST_PERIODS, DatedDocuments, dated_documents

FEWEST_BLOCKS = 5  # of a period that is tested


def share_by_period(
    dated: DatedDocuments, data: DocumentCounts, weights: np.ndarray
) -> pd.DataFrame:
    """Share of each period's tokens that chose each expert.

    Args:
        dated: documents with their dates.
        data: per-document counts, for the axes.
        weights: (B, D) bootstrap weights; a block takes those of its first document.

    Returns:
        One row per period, layer and expert: `share` with its 95% bootstrap interval `low`, `high`
        over blocks (NaN for fewer than 3), `base_share` (mean of the periods), `chance` (k/E),
        `blocks`, `documents`, `tokens` of the period.
    """
    number, experts = len(dated.periods), data.num_experts
    flat = np.column_stack([dated.counts, dated.tokens])
    sums = topic_sums(flat, dated.period_ids, number)
    drawn_weights = weights[:, dated.first][:, dated.blocks]
    draws = bootstrap_topic_sums(flat, dated.period_ids, number, drawn_weights)
    share = sums[:, :-1] / np.maximum(sums[:, -1:], 1)
    drawn = draws[..., :-1] / np.where(draws[..., -1:] > 0, draws[..., -1:], np.nan)
    cells = np.unique(dated.period_ids * dated.num_blocks + dated.blocks) // dated.num_blocks
    blocks = np.bincount(cells, minlength=number)
    low, high = interval(drawn, blocks[:, None])
    index = pd.MultiIndex.from_product(
        [dated.periods, data.layers, range(experts)], names=["period", "layer", "expert"]
    )
    sizes = {
        "blocks": blocks,
        "documents": np.bincount(dated.period_ids, minlength=number),
        "tokens": sums[:, -1],
    }
    columns = {
        "share": share,
        "low": low,
        "high": high,
        "base_share": np.broadcast_to(share.mean(axis=0), share.shape),
        "chance": np.full(share.shape, data.top_k / experts),
        **{name: np.broadcast_to(x[:, None], share.shape) for name, x in sizes.items()},
    }
    return pd.DataFrame({name: x.ravel() for name, x in columns.items()}, index).reset_index()


def expert_trends(dated: DatedDocuments, data: DocumentCounts, orders: np.ndarray) -> pd.DataFrame:
    """Whether an expert is chosen more and more, or less and less, as time goes by.

    Args:
        dated: documents with their dates.
        data: per-document counts, for the axes.
        orders: (P, B) orders of the blocks.

    Returns:
        One row per layer and expert: `trend` (correlation of the block's share with its mean date,
        blocks weighted by tokens up to those of the median block), `change` (of the share from the
        first to the last date, by the straight line), `p_value` (dates permuted over blocks,
        family-wise over all layers and experts, two-sided, of a statistic that lets the spread of
        shares go with time; NaN below 10 blocks), `blocks`, `permutations`.
    """
    months, tokens = dated.block_months(), dated.block_sums(dated.tokens)
    shares = dated.block_sums(dated.counts) / np.maximum(tokens, 1)[:, None]
    every = np.concatenate([months[None], months[orders]])
    found = weighted_trends(every, shares, capped_weights(tokens))
    p_value = np.full(shares.shape[1], np.nan)
    if dated.num_blocks >= MIN_GROUPS_FOR_P:
        sizes = np.abs(found.statistics)
        p_value = family_wise_p(sizes[0], sizes[1:])
    return pd.DataFrame(
        {
            "layer": np.repeat(data.layers, data.num_experts),
            "expert": np.tile(np.arange(data.num_experts), len(data.layers)),
            "trend": found.correlations[0],
            "change": found.slopes[0] * np.ptp(months),
            "p_value": p_value,
            "blocks": dated.num_blocks,
            "permutations": len(orders),
        }
    )


def time_information(
    dated: DatedDocuments, data: DocumentCounts, orders: np.ndarray
) -> pd.DataFrame:
    """How much an expert's name tells about the period of its token: E3 with periods for topics.

    Here a period is a run of blocks, by their mean dates, of which it holds about as many as any
    other: five at least, and at most 12 periods. A block counts with its shares, whatever its
    length, and each period with a variance of its own (`statistics.welch`).

    Args:
        dated: documents with their dates.
        data: per-document counts, for the axes.
        orders: (P, B) orders of the blocks.

    Returns:
        One row per layer: `bits` (plug-in minus the mean under permuted dates), `plug_in_bits`,
        `null_bits`, `share` of log2 of the number of periods, `p_value`, `family_p_value` (over
        layers; both NaN below 10 blocks), `periods`, `blocks`, `permutations`.
    """
    most = min(MOST_PERIODS, dated.num_blocks // FEWEST_BLOCKS)
    periods = quantile_strata(dated.block_months(), max(2, most))
    number, experts = int(periods.max()) + 1, data.num_experts
    counts = dated.block_sums(dated.counts).reshape(dated.num_blocks, -1, experts)
    tokens, labels = (
        dated.block_sums(dated.tokens),
        np.concatenate([periods[None], periods[orders]]),
    )
    found = [
        label_test(share_moments(counts[:, layer], tokens), labels, number)
        for layer in range(counts.shape[1])
    ]
    bits = np.stack([each.information for each in found], axis=1)  # (1 + P, L)
    statistics = np.stack([each.statistic for each in found], axis=1)
    testable = dated.num_blocks >= MIN_GROUPS_FOR_P and number > 1
    tested, mean = (
        null_test(statistics[0], statistics[1:], testable=testable),
        bits[1:].mean(axis=0),
    )
    return pd.DataFrame(
        {
            "layer": data.layers,
            "plug_in_bits": bits[0],
            "null_bits": mean,
            "bits": bits[0] - mean,
            "share": (bits[0] - mean) / np.log2(max(number, 2)),
            "p_value": tested.p_value,
            "family_p_value": tested.family_p_value,
            "periods": number,
            "blocks": dated.num_blocks,
            "permutations": len(orders),
        }
    )


@dataclass(frozen=True)
class TimeResults:
    """What the dates of a store's documents tell.

    Attributes:
        periods: names, in order of time.
        shares: `share_by_period`.
        trends: `expert_trends`.
        information: `time_information`.
    """

    periods: tuple[str, ...]
    shares: pd.DataFrame
    trends: pd.DataFrame
    information: pd.DataFrame


def analyse_time(
    data: DocumentCounts,
    documents: pd.DataFrame,
    blocks: Mapping[str, str] | None,
    permutations: int,
    weights: np.ndarray,
    generator: np.random.Generator,
) -> TimeResults | None:
    """Computes the frames; None where the documents carry no dates, or all of one period."""
    dated = dated_documents(data, documents, blocks)
    if dated is None:
        return None
    orders = document_orders(generator, dated.num_blocks, permutations)
    return TimeResults(
        periods=dated.periods,
        shares=share_by_period(dated, data, weights),
        trends=expert_trends(dated, data, orders),
        information=time_information(dated, data, orders),
    )


@dataclass(frozen=True)
class TimeRecord:
    """What dates, and values that a masked router is told, have to do with the routing.

    Attributes:
        time: `analyse_time`; None without dates.
        conditions: `conditions.condition_losses`; empty unless a masked router was told others.
        unit: what is permuted and resampled, in the plural.
    """

    time: TimeResults | None
    conditions: pd.DataFrame
    unit: str = "groups"


def measure_time(run: RunData, draws: Draws) -> TimeRecord | None:
    """Computes the record; None where there are neither dates nor told values."""
    store, data, column = run.store, run.documents, run.settings.time_blocks
    blocks = run.time_blocks if run.time_blocks is not None else run.groups
    time = analyse_time(
        data, store.documents, blocks, draws.permutations, draws.weights, draws.generator
    )
    told = condition_losses(
        store.metadata_values,
        store.facts.metadata_values,
        store.documents,
        data,
        draws.weights,
        blocks,
    )
    unit = "groups" if column == "group" else f"blocks of one {column}"
    return None if time is None and told.empty else TimeRecord(time, told, unit)
