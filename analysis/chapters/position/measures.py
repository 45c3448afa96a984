"""E12, mask kinds: masked, replaced, kept and special positions, apart from untouched text."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...data.documents import DocumentCounts
from ...data.run import RunData
from ...statistics.bootstrap import interval, weighted_sums
from ...statistics.draws import Draws
from ...statistics.ratios import log2_ratios
from .places import place_routing


def masked_experts(data: DocumentCounts, weights: np.ndarray) -> pd.DataFrame:
    """Which experts [MASK] tokens choose, against untouched tokens of the same documents.

    Returns:
        One row per layer and expert: `masked_share` and `untouched_share` of that kind's tokens,
        `chance` (k/E), `log2_ratio` of the two (half a choice added to each) with its 95%
        interval `low`, `high` over groups (NaN for fewer than 3 with masks),
        `masked_tokens`, `untouched_tokens`, `documents`. Empty when nothing is masked.
    """
    experts = data.num_experts
    masked_tokens, tokens = int(data.masked_tokens.sum()), int(data.tokens.sum())
    if not masked_tokens:
        return pd.DataFrame(columns=["layer", "expert", "masked_share", "log2_ratio"])
    masked, untouched = data.masked_counts.sum(axis=0), data.counts.sum(axis=0)  # (L, E)
    draws = np.stack(
        [weighted_sums(counts, weights) for counts in (data.masked_counts, data.counts)], axis=1
    )  # (B, 2, L, E)
    masking = len(np.unique(data.units.groups[data.units.of_documents[data.masked_tokens > 0]]))
    known = np.where(draws.sum(axis=-1, keepdims=True) > 0, draws, np.nan)
    low, high = interval(_log2_masked(known), masking)
    return pd.DataFrame(
        {
            "layer": np.repeat(data.layers, experts),
            "expert": np.tile(np.arange(experts), len(data.layers)),
            "masked_share": (masked / masked_tokens).ravel(),
            "untouched_share": (untouched / tokens).ravel(),
            "chance": data.top_k / experts,
            "log2_ratio": _log2_masked(np.stack([masked, untouched])).ravel(),
            "low": low.ravel(),
            "high": high.ravel(),
            "masked_tokens": masked_tokens,
            "untouched_tokens": tokens,
            "documents": len(data.ids),
        }
    )


def _log2_masked(sums: np.ndarray) -> np.ndarray:
    """log2 of the masked over the untouched share: (…, 2, L, E) → (…, L, E)."""
    ratios = log2_ratios(sums)
    return ratios[..., 0, :, :] - ratios[..., 1, :, :]


def router_entropy(
    entropy_sums: np.ndarray,
    tokens: np.ndarray,
    mask_kinds: Sequence[str],
    layers: Sequence[int],
    num_experts: int,
) -> pd.DataFrame:
    """Mean entropy of the router's distribution by mask kind.

    Args:
        entropy_sums: (S, L) sums in nats; NaN where the router's distribution is unknown.
        tokens: (T, S) tokens.
        mask_kinds: names of the mask kinds (S).
        layers: layer numbers (L).
        num_experts: E.

    Returns:
        One row per mask kind with tokens and layer: `entropy` in bits, `max_entropy` (log2 E),
        `tokens`. Unknown entropies are left out.
    """
    totals = tokens.sum(axis=0)
    rows = [
        {
            "mask_kind": mask_kind,
            "layer": layer,
            "entropy": entropy_sums[s, position] / totals[s] / np.log(2),
            "max_entropy": np.log2(num_experts),
            "tokens": int(totals[s]),
        }
        for s, mask_kind in enumerate(mask_kinds)
        for position, layer in enumerate(layers)
        if totals[s] and np.isfinite(entropy_sums[s, position])
    ]
    return pd.DataFrame(rows, columns=["mask_kind", "layer", "entropy", "max_entropy", "tokens"])


def mask_kind_load(
    table: np.ndarray, tokens: np.ndarray, mask_kinds: Sequence[str], layers: Sequence[int]
) -> pd.DataFrame:
    """Load by mask kind (untouched, masked, replaced, kept, special), topics pooled.

    Args:
        table: (T, S, L, E) choices.
        tokens: (T, S) tokens.
        mask_kinds: names of the mask kinds (S).
        layers: layer numbers (L).

    Returns:
        One row per mask kind, layer and expert with tokens in it: `share` of that kind's tokens.
    """
    counts, totals = table.sum(axis=0), tokens.sum(axis=0)  # (S, L, E), (S)
    rows = [
        {
            "mask_kind": mask_kind,
            "layer": layer,
            "expert": expert,
            "share": counts[s, position, expert] / totals[s],
            "tokens": int(totals[s]),
        }
        for s, mask_kind in enumerate(mask_kinds)
        if totals[s]
        for position, layer in enumerate(layers)
        for expert in range(counts.shape[2])
    ]
    return pd.DataFrame(rows, columns=["mask_kind", "layer", "expert", "share", "tokens"])


@dataclass(frozen=True)
class PositionRecord:
    """How kinds of position are routed.

    Attributes:
        masked: `masked_experts`; empty where nothing is masked.
        mask_kinds: `mask_kind_load`.
        entropy: `router_entropy`.
        places: `places.place_routing`; empty where it was not recorded.
    """

    masked: pd.DataFrame
    mask_kinds: pd.DataFrame
    entropy: pd.DataFrame
    places: pd.DataFrame


def measure_position(run: RunData, draws: Draws) -> PositionRecord:
    """Computes the record."""
    data, tables, facts = run.documents, run.store.tables, run.store.facts
    return PositionRecord(
        masked=masked_experts(data, draws.weights),
        mask_kinds=mask_kind_load(
            tables["topic_mask_kind_expert"],
            tables["topic_mask_kind_tokens"],
            facts.mask_kinds,
            data.layers,
        ),
        entropy=router_entropy(
            tables["topic_mask_kind_entropy"].sum(axis=0),
            tables["topic_mask_kind_tokens"],
            facts.mask_kinds,
            data.layers,
            data.num_experts,
        ),
        places=place_routing(
            tables["place_expert"],
            tables["place_tokens"],
            tables["place_entropy"],
            facts.places,
            data.layers,
        ),
    )
