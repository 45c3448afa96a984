"""E1, load: how evenly the experts of a layer share the tokens."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...data.documents import DocumentCounts
from ...data.run import RunData
from ...statistics.bootstrap import interval, weighted_sums
from ...statistics.draws import Draws
from ...statistics.information import entropy_bits


def max_violation(load: np.ndarray) -> np.ndarray:
    """(max − mean) / mean over the last axis: 0 is balance, E − 1 collapse (arXiv 2408.15664)."""
    mean = load.mean(axis=-1)
    return _ratio(load.max(axis=-1) - mean, mean)


def coefficient_of_variation(load: np.ndarray) -> np.ndarray:
    """Standard deviation over mean of the last axis: 0 is balance."""
    return _ratio(load.std(axis=-1), load.mean(axis=-1))


def effective_experts(load: np.ndarray) -> np.ndarray:
    """2 to the entropy of the shares: from 1 (collapse) to E (balance)."""
    return np.exp2(entropy_bits(load))


def gini(load: np.ndarray) -> np.ndarray:
    """Gini coefficient of the last axis: 0 is balance, (E − 1)/E is collapse."""
    ordered = np.sort(load, axis=-1)
    experts = load.shape[-1]
    ranks = 2 * np.arange(1, experts + 1) - experts - 1
    return _ratio((ordered * ranks).sum(axis=-1), experts * ordered.sum(axis=-1))


def expert_load(data: DocumentCounts, weights: np.ndarray) -> pd.DataFrame:
    """Share of tokens that chose each expert, all topics together (untouched tokens).

    Args:
        data: per-document counts.
        weights: (B, D) bootstrap weights; documents of a group share theirs.

    Returns:
        One row per layer and expert: `layer, expert, share, low, high, chance` (k/E), `tokens`,
        `groups`, `documents`, `documents_using` (with at least one token on the expert), `dead`,
        and `use_bound`: upper 95% bound for the share of groups that use a dead expert.
    """
    documents, _, experts = data.counts.shape
    groups = data.units.num_groups
    share = data.counts.sum(axis=0) / data.tokens.sum()  # (L, E)
    low, high = interval(_bootstrap_shares(data, weights), groups)
    using = (data.counts > 0).sum(axis=0)
    return pd.DataFrame(
        {
            "layer": np.repeat(data.layers, experts),
            "expert": np.tile(np.arange(experts), len(data.layers)),
            "share": share.ravel(),
            "low": low.ravel(),
            "high": high.ravel(),
            "chance": data.top_k / experts,
            "tokens": int(data.tokens.sum()),
            "groups": groups,
            "documents": documents,
            "documents_using": using.ravel(),
            "dead": using.ravel() == 0,
            "use_bound": np.where(using.ravel() == 0, 1 - 0.05 ** (1 / groups), np.nan),
        }
    )


def layer_balance(data: DocumentCounts, weights: np.ndarray) -> pd.DataFrame:
    """Balance of each layer over untouched tokens.

    Few groups make any load look uneven: MaxVio is biased upward, effective experts downward.

    Returns:
        One row per layer: `max_violation` (+ `_low`, `_high`, and `_bias`: at most so much of it
        is chance, `violation_interval`), `cv`, `effective_experts` (+ `_low`, `_high`,
        `effective_interval`), `gini`, `dead_experts`, `experts`, `tokens`, `groups`, `documents`.
    """
    groups = data.units.num_groups
    load = data.counts.sum(axis=0).astype(float)  # (L, E)
    draws = _bootstrap_shares(data, weights)
    violation_low, violation_high, violation_bias = violation_interval(load, draws, groups)
    effective_low, effective_high = effective_interval(load, draws, groups)
    return pd.DataFrame(
        {
            "layer": data.layers,
            "max_violation": max_violation(load),
            "max_violation_low": violation_low,
            "max_violation_high": violation_high,
            "max_violation_bias": violation_bias,
            "cv": coefficient_of_variation(load),
            "effective_experts": effective_experts(load),
            "effective_experts_low": effective_low,
            "effective_experts_high": effective_high,
            "gini": gini(load),
            "dead_experts": (load == 0).sum(axis=-1),
            "experts": data.num_experts,
            "tokens": int(data.tokens.sum()),
            "groups": groups,
            "documents": len(data.ids),
        }
    )


def violation_interval(
    load: np.ndarray, draws: np.ndarray, groups: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """95% interval of MaxVio, and the most that its upward bias can be.

    The largest of noisy loads lies above the largest true one, and a resample of it higher still,
    so percentiles of the resampled maximum do not hold the truth. But the largest true load lies
    below the estimate by no more than the most by which any load is too high: its lower end. And it
    lies no higher than the upper end of its own expert's interval, nor than the largest of these.

    Args:
        load: (L, E) choices.
        draws: (B, L, E) bootstrap loads of any scale, NaN where a draw is empty.
        groups: behind them.

    Returns:
        (L) each: low (at least 0), high, and the mean over draws of the largest deviation of an
        expert, which is the bias where the true load is even, and more than it elsewhere.
    """
    over_even = _ratio(load, load.mean(axis=-1, keepdims=True))
    drawn = _ratio(draws, draws.mean(axis=-1, keepdims=True))
    deviation = (drawn - over_even).max(axis=-1)  # (B, L)
    _, deviation_high = interval(deviation, groups)
    _, experts_high = interval(drawn, groups)
    low = np.maximum(max_violation(load) - deviation_high, 0)
    bias = np.nanmean(deviation, axis=0) if len(draws) else np.full(low.shape, np.nan)
    return low, experts_high.max(axis=-1) - 1, np.where(np.isnan(low), np.nan, bias)


def effective_interval(
    load: np.ndarray, draws: np.ndarray, groups: int
) -> tuple[np.ndarray, np.ndarray]:
    """95% interval of the effective experts, corrected for bias.

    Noise only lowers an entropy, and resampling lowers it once more by as much: draws are moved up
    twice that much (Efron and Tibshirani 1993, chapter 10). Where the bias is larger than the
    spread, the interval reaches from the estimate to the corrected ones.

    Args:
        load: (L, E) choices.
        draws: (B, L, E) bootstrap loads of any scale, NaN where a draw is empty.
        groups: behind them.
    """
    estimate, drawn = effective_experts(load), effective_experts(draws)
    if not len(drawn):
        return interval(drawn, groups)
    low, high = interval(drawn - 2 * (np.nanmean(drawn, axis=0) - estimate), groups)
    return np.minimum(low, estimate), np.minimum(np.maximum(high, estimate), load.shape[-1])


def _bootstrap_shares(data: DocumentCounts, weights: np.ndarray) -> np.ndarray:
    """Share of tokens per expert in each draw: (B, L, E); NaN for a draw without a document."""
    tokens = weighted_sums(data.tokens, weights)[:, None, None]
    return weighted_sums(data.counts, weights) / np.where(tokens > 0, tokens, np.nan)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Divides; 0 where the denominator is 0."""
    numerator = np.asarray(numerator, dtype=float)
    return np.divide(
        numerator, denominator, out=np.zeros_like(numerator), where=np.asarray(denominator) != 0
    )


@dataclass(frozen=True)
class LoadRecord:
    """What the load of the experts is.

    Attributes:
        load: `expert_load`.
        balance: `layer_balance`.
        cells: topic × expert shares (`topics.cells.topic_expert_cells`).
    """

    load: pd.DataFrame
    balance: pd.DataFrame
    cells: pd.DataFrame


def measure_load(run: RunData, draws: Draws, cells: pd.DataFrame) -> LoadRecord:
    """Computes the record."""
    data = run.documents
    return LoadRecord(expert_load(data, draws.weights), layer_balance(data, draws.weights), cells)


def balance_by_layer(record: LoadRecord) -> pd.DataFrame:
    """The numbers of each layer that a summary holds."""
    return record.balance[["layer", "max_violation", "effective_experts", "dead_experts"]]
