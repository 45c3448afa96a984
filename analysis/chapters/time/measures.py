"""E15, time: do experts come and go with the years?

What is permuted and resampled is the origin, not the document: the paragraphs of one speech share
a date and a speaker, and are one observation of their time.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...data.documents import DocumentCounts
from ...data.run import RunData
from ...statistics.bootstrap import bootstrap_topic_sums, interval
from ...statistics.draws import Draws
from ...statistics.groups import information_null
from ...statistics.permutations import (
    MIN_DOCUMENTS_FOR_P,
    family_wise_p,
    permutation_p,
    restricted_orders,
    topic_sums,
)
from .conditions import condition_losses
from .dates import DatedOrigins, dated_origins


def share_by_period(dated: DatedOrigins, data: DocumentCounts, weights: np.ndarray) -> pd.DataFrame:
    """Share of each period's tokens that chose each expert.

    Args:
        dated: origins with their dates.
        data: per-document counts, for the axes.
        weights: (B, D) bootstrap weights; an origin takes those of its first document.

    Returns:
        One row per period, layer and expert: `share` with its 95% bootstrap interval `low`, `high`
        over origins (NaN for fewer than 3), `base_share` (mean of the periods), `chance` (k/E),
        `origins`, `documents`, `tokens` of the period.
    """
    number, experts = len(dated.periods), data.num_experts
    flat = np.column_stack([dated.counts, dated.tokens])
    sums = topic_sums(flat, dated.period_ids, number)
    draws = bootstrap_topic_sums(flat, dated.period_ids, number, weights[:, dated.rows])
    share = sums[:, :-1] / np.maximum(sums[:, -1:], 1)
    drawn = draws[..., :-1] / np.where(draws[..., -1:] > 0, draws[..., -1:], np.nan)
    origins = np.bincount(dated.period_ids, minlength=number)
    low, high = interval(drawn, origins[:, None])
    index = pd.MultiIndex.from_product(
        [dated.periods, data.layers, range(experts)], names=["period", "layer", "expert"]
    )
    sizes = {
        "origins": origins,
        "documents": topic_sums(dated.documents, dated.period_ids, number),
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


def expert_trends(dated: DatedOrigins, data: DocumentCounts, orders: np.ndarray) -> pd.DataFrame:
    """Whether an expert is chosen more and more, or less and less, as time goes by.

    Args:
        dated: origins with their dates.
        data: per-document counts, for the axes.
        orders: (P, D) `permutations.document_orders`; what is left of them orders the origins.

    Returns:
        One row per layer and expert: `trend` (correlation of the origin's share with its date,
        origins weighted by tokens), `change` (of the share from the first to the last date, by the
        straight line), `p_value` (dates permuted over origins, family-wise over all layers and
        experts, two-sided; NaN below 10 origins), `origins`, `permutations`.
    """
    permuted = dated.months[restricted_orders(orders, dated.rows)]
    shares = dated.counts / np.maximum(dated.tokens, 1)[:, None]
    weights = dated.tokens / max(dated.tokens.sum(), 1)
    trend, slope = _correlations(dated.months[None], shares, weights)
    p_value = np.full(trend.shape[1], np.nan)
    if len(dated.rows) >= MIN_DOCUMENTS_FOR_P:
        null, _ = _correlations(permuted, shares, weights)
        p_value = family_wise_p(np.abs(trend[0]), np.abs(null))
    return pd.DataFrame(
        {
            "layer": np.repeat(data.layers, data.num_experts),
            "expert": np.tile(np.arange(data.num_experts), len(data.layers)),
            "trend": trend[0],
            "change": slope[0] * np.ptp(dated.months),
            "p_value": p_value,
            "origins": len(dated.rows),
            "permutations": len(orders),
        }
    )


def _correlations(
    months: np.ndarray, shares: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weighted correlations of dates (P, U) with shares (U, C): (P, C); slopes alike."""
    centred = shares - weights @ shares
    spread = np.sqrt(weights @ centred**2)
    times = months - (months @ weights)[:, None]
    variance = (times**2) @ weights
    products = (times * weights) @ centred
    scale = np.sqrt(variance)[:, None] * spread
    correlations = np.divide(products, scale, out=np.zeros_like(products), where=scale > 1e-12)
    return correlations, products / np.maximum(variance, 1e-12)[:, None]


def time_information(dated: DatedOrigins, data: DocumentCounts, orders: np.ndarray) -> pd.DataFrame:
    """How much an expert's name tells about the period of its token: E3 with periods for topics.

    Returns:
        One row per layer: `bits` (plug-in minus the mean under permuted dates), `plug_in_bits`,
        `null_bits`, `share` of log2 of the number of periods, `p_value` (family-wise over layers;
        NaN below 10 origins), `periods`, `origins`, `permutations`.
    """
    order_of_origins = restricted_orders(orders, dated.rows)
    observed, null = information_null(
        dated.counts, dated.period_ids, data.num_experts, order_of_origins
    )
    mean, spread = null.mean(axis=0), np.where(null.std(axis=0) > 0, null.std(axis=0), 1)
    p_value, family_p = (np.full(observed.shape, np.nan) for _ in range(2))
    if len(dated.rows) >= MIN_DOCUMENTS_FOR_P:
        p_value = permutation_p(observed, null)
        family_p = family_wise_p((observed - mean) / spread, (null - mean) / spread)
    return pd.DataFrame(
        {
            "layer": data.layers,
            "plug_in_bits": observed,
            "null_bits": mean,
            "bits": observed - mean,
            "share": (observed - mean) / np.log2(len(dated.periods)),
            "p_value": p_value,
            "family_p_value": family_p,
            "periods": len(dated.periods),
            "origins": len(dated.rows),
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
    origins: Mapping[str, str] | None,
    orders: np.ndarray,
    weights: np.ndarray,
) -> TimeResults | None:
    """Computes the frames; None where the documents carry no dates, or all of one period."""
    dated = dated_origins(data, documents, origins)
    if dated is None:
        return None
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
    """

    time: TimeResults | None
    conditions: pd.DataFrame


def measure_time(run: RunData, draws: Draws) -> TimeRecord | None:
    """Computes the record; None where there are neither dates nor told values."""
    store, data = run.store, run.documents
    time = analyse_time(data, store.documents, run.groups, draws.orders, draws.weights)
    told = condition_losses(
        store.metadata_values,
        store.facts.metadata_values,
        store.documents,
        data,
        draws.weights,
        run.groups,
    )
    return None if time is None and told.empty else TimeRecord(time, told)
