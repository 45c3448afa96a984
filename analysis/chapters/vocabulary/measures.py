"""E7, vocabulary: which tokens an expert is chosen for, and how much of that chance explains."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...data.run import RunData
from ...data.token_types import NORMAL_95, TypeCounts, type_counts
from ...statistics.draws import Draws


def top_tokens(
    types: TypeCounts,
    all_counts: np.ndarray,
    all_tokens: int,
    per_expert: int,
    *,
    layers: Sequence[int],
    top_k: int,
) -> pd.DataFrame:
    """The types each expert is most enriched for, ranked by the lower end of the interval.

    Args:
        types: the vocabulary.
        all_counts: (L, E) choices of all tokens, types without a row included.
        all_tokens: how many those are; some may have fewer experts than k, or none.
        per_expert: how many types to list at most; only those above the base share are.
        layers: layer numbers (L).
        top_k: experts chosen per token and layer.

    Returns:
        One row per layer, expert and rank: `token`, `share` (of the type's tokens that chose the
        expert), `base_share` (of all tokens), `chance` (k/E), `log2_ratio` of the two with a 95%
        interval `low`, `high` (tokens as independent draws, so it is narrow for types that come
        in few documents), `tokens`.
    """
    kept = types.frequent()
    base = all_counts / max(all_tokens, 1)
    ratio, error = _enrichment(kept, base)
    low, high = ratio - NORMAL_95 * error, ratio + NORMAL_95 * error  # (V, L, E)
    order = np.argsort(-low, axis=0, kind="stable")[:per_expert]
    rank, position, expert = np.nonzero(np.take_along_axis(low, order, axis=0) > 0)
    row = order[rank, position, expert]
    frame = pd.DataFrame(
        {
            "layer": np.asarray(layers)[position],
            "expert": expert,
            "rank": rank + 1,
            "token": np.asarray(kept.names, dtype=object)[row],
            "share": kept.counts[row, position, expert] / kept.tokens[row],
            "base_share": base[position, expert],
            "chance": top_k / all_counts.shape[1],
            "log2_ratio": ratio[row, position, expert],
            "low": low[row, position, expert],
            "high": high[row, position, expert],
            "tokens": kept.tokens[row],
        }
    )
    return frame.sort_values(["layer", "expert", "rank"], ignore_index=True)


def _enrichment(types: TypeCounts, base: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log2 of a type's share over the base share, and its standard error: both (V, L, E).

    Every type gets one token more, routed as the average token is; the error is that of a
    binomial share by the delta method.
    """
    smoothed = types.counts + base
    share = smoothed / (types.tokens + 1)[:, None, None]
    safe = np.where(base > 0, base, 1)
    ratio = np.log2(np.where(base > 0, share, 1) / safe)
    error = np.sqrt(np.maximum(1 - share, 0) / np.where(base > 0, smoothed, 1)) / np.log(2)
    return ratio, error


def vocabulary_specialisation(
    types: TypeCounts, layers: Sequence[int], generator: np.random.Generator, draws: int = 5
) -> pd.DataFrame:
    """How far token types keep to one expert, against the floor that chance alone gives.

    Observed: the largest share of a type's tokens that chose one expert, mean over types weighted
    by tokens; 1 = every type has an expert that all its tokens choose, whatever k is. Floor: the
    same when the tokens of every type choose experts at random, each as often as all tokens do
    (`random_choices`), which is far above k/E for rare types and uneven loads.

    Returns:
        One row per layer: `observed`, `floor`, `excess` = (observed − floor) / (1 − floor),
        `types`, `tokens`, and `unweighted`: mean of the largest share over all `all_types` types,
        rare ones included and each counted once, as published for OLMoE (arXiv 2409.02060).
    """
    seen = np.flatnonzero(types.tokens > 0)
    kept = types.frequent()
    sizes, total = kept.tokens, max(int(kept.tokens.sum()), 1)
    rows = []
    for position, layer in enumerate(layers):
        counts = kept.counts[:, position]  # (V, E)
        load = np.minimum(counts.sum(axis=0) / total, 1.0)
        drawn = [random_choices(sizes, load, generator) for _ in range(draws)]
        floor = float(np.mean([_largest_share(x, sizes) for x in drawn]))
        observed = _largest_share(counts, sizes)
        rows.append(
            {
                "layer": layer,
                "observed": observed,
                "floor": floor,
                "excess": (observed - floor) / (1 - floor) if floor < 1 else np.nan,
                "types": len(sizes),
                "tokens": int(sizes.sum()),
                "unweighted": _mean_largest(types.counts[seen, position], types.tokens[seen]),
                "all_types": len(seen),
            }
        )
    return pd.DataFrame(rows)


def random_choices(
    tokens: np.ndarray, load: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """How often tokens choose each expert when a set is drawn for each by load alone: (V, E).

    An expert's count is binomial. The counts of a type add up to its choices, so they are not
    independent: the surplus is taken off in proportion to their variances, and what that takes of
    the variance is put back.

    Args:
        tokens: (V) of each type.
        load: (E) probability that a token chooses the expert, adding up to k.
    """
    mean, variance = tokens[:, None] * load, load * (1 - load)
    part = variance / max(variance.sum(), 1e-12)
    excess = generator.binomial(tokens[:, None], load) - mean
    excess = (excess - excess.sum(axis=1, keepdims=True) * part) / np.sqrt(
        1 - np.minimum(part, 0.5)
    )
    return np.clip(mean + excess, 0, tokens[:, None])


def _largest_share(counts: np.ndarray, tokens: np.ndarray) -> float:
    """Token-weighted mean over types of max_e c_xe / n_x: Σ_x max_e c_xe / Σ_x n_x."""
    return float(counts.max(axis=1).sum() / tokens.sum()) if tokens.sum() else float("nan")


def _mean_largest(counts: np.ndarray, tokens: np.ndarray) -> float:
    """Mean over types of max_e c_xe / n_x, each type once."""
    return float((counts.max(axis=1) / tokens).mean()) if len(tokens) else float("nan")


@dataclass(frozen=True)
class VocabularyRecord:
    """Which tokens the experts are chosen for.

    Attributes:
        tokens: `top_tokens`.
        vocabulary: `vocabulary_specialisation`.
    """

    tokens: pd.DataFrame
    vocabulary: pd.DataFrame


def measure_vocabulary(run: RunData, draws: Draws) -> VocabularyRecord:
    """Computes the record."""
    store, data = run.store, run.documents
    types = type_counts(store)
    return VocabularyRecord(
        tokens=top_tokens(
            types,
            store.tables["type_expert"].sum(axis=0),
            int(store.tables["type_tokens"].sum()),
            run.settings.top_tokens,
            layers=data.layers,
            top_k=data.top_k,
        ),
        vocabulary=vocabulary_specialisation(types, data.layers, draws.generator),
    )
