"""E14 between runs: which expert of one run is which of another, told by the token types they take.

Expert numbers mean nothing across runs. Experts of the same layer are paired so that their token
profiles agree best (Hungarian assignment, as neurons across runs in arXiv 1511.07543), and the
agreement is held against what such a choice of the best pairs gives for types shuffled.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from ...inference.store.reader import RoutingStore
from ..data.token_types import MIN_OCCURRENCES
from ..statistics.permutations import family_wise_p

BLOCK = 32  # types of like frequency, among which the null shuffles
MIN_TYPES = 2 * BLOCK


@dataclass(frozen=True)
class SharedProfiles:
    """Types that both runs saw at least 10 times, rarest first, and who takes them.

    Attributes:
        layers: numbers that both models have (L).
        first: (L, E₁, X) share of each type's tokens that chose the expert.
        second: (L, E₂, X) of the other run.
        weights: (X) geometric means of the type's shares of the tokens; sum 1.
        tokens: (2) tokens of these types in each run.
    """

    layers: list[int]
    first: np.ndarray
    second: np.ndarray
    weights: np.ndarray
    tokens: tuple[int, int]


def match_experts(
    first: RoutingStore, second: RoutingStore, generator: np.random.Generator, permutations: int
) -> pd.DataFrame:
    """Pairs the experts of two runs, layer by layer.

    Returns:
        One row per pair: `layer`, `expert` (of the first run), `matched_expert` (of the second),
        `similarity` (correlation of the shares of each token type, types weighted by frequency;
        1 = same profile, 0 = unrelated), `null_mean` and `null_high` (97.5%) of the same expert
        with the second run's types shuffled among types of like frequency and matched anew,
        `p_value` (family-wise over all pairs), `types`, `permutations`. Where one run has more
        experts, some stay unpaired. Empty without a common layer or with fewer than 64 common
        types; see `run_similarity` for the layer as a whole.
    """
    columns = ["layer", "expert", "matched_expert", "similarity", "null_mean", "null_high"]
    shared = shared_profiles(first, second)
    observed, matches, null = _matched(shared, generator, permutations)
    if not len(observed):
        return pd.DataFrame(columns=[*columns, "p_value", "types", "permutations"])
    frames = []
    for position, layer in enumerate(shared.layers):
        experts = np.flatnonzero(matches[position] >= 0)
        draws = null[:, position]
        frames.append(
            pd.DataFrame(
                {
                    "layer": layer,
                    "expert": experts,
                    "matched_expert": matches[position, experts],
                    "similarity": observed[position, experts],
                    "null_mean": np.nanmean(draws[:, experts], axis=0),
                    "null_high": np.nanquantile(draws[:, experts], 0.975, axis=0),
                }
            )
        )
    frame = pd.concat(frames, ignore_index=True)
    largest = np.nanmax(null.reshape(permutations, -1), axis=1)
    frame["p_value"] = family_wise_p(frame.similarity.to_numpy(), largest[:, None])
    return frame.assign(types=len(shared.weights), permutations=permutations)


def run_similarity(
    first: RoutingStore, second: RoutingStore, generator: np.random.Generator, permutations: int
) -> pd.DataFrame:
    """How alike two runs route, layer by layer, whatever their experts are called.

    Returns:
        One row per common layer: `similarity` (mean over the matched pairs of `match_experts`)
        with `null_mean`, `null_low` and `null_high` (central 95%) for shuffled types, `excess` =
        (similarity − null_mean) / (1 − null_mean), `p_value` (family-wise over layers), `pairs`,
        `types`, `first_tokens`, `second_tokens` (of these types), `permutations`. Empty as
        `match_experts`.
    """
    columns = ["layer", "similarity", "null_mean", "null_low", "null_high", "excess", "p_value"]
    shared = shared_profiles(first, second)
    observed, _, null = _matched(shared, generator, permutations)
    if not len(observed):
        return pd.DataFrame(columns=columns)
    similarity, drawn = np.nanmean(observed, axis=1), np.nanmean(null, axis=2)  # (L), (P, L)
    mean = drawn.mean(axis=0)
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    spread = np.where(drawn.std(axis=0) > 0, drawn.std(axis=0), 1)
    return pd.DataFrame(
        {
            "layer": shared.layers,
            "similarity": similarity,
            "null_mean": mean,
            "null_low": low,
            "null_high": high,
            "excess": (similarity - mean) / (1 - mean),
            "p_value": family_wise_p((similarity - mean) / spread, (drawn - mean) / spread),
            "pairs": np.isfinite(observed).sum(axis=1),
            "types": len(shared.weights),
            "first_tokens": shared.tokens[0],
            "second_tokens": shared.tokens[1],
            "permutations": permutations,
        }
    )


def shared_profiles(first: RoutingStore, second: RoutingStore) -> SharedProfiles:
    """Aligns two stores by layer number and by the readable text of token types."""
    layers = [layer for layer in first.layers if layer in second.layers]
    kept = [_frequent_types(store) for store in (first, second)]
    names = sorted(set(kept[0]) & set(kept[1]))
    profiles, tokens = [], []
    for store, rows in zip((first, second), kept, strict=True):
        own = np.array([rows[name] for name in names], dtype=np.int64)
        places = [store.layers.index(layer) for layer in layers]
        counts = store.tables["type_expert"][own][:, places]  # (X, L, E)
        tokens.append(store.tables["type_tokens"][own].astype(float))
        shares = counts / tokens[-1][:, None, None]
        profiles.append(shares.transpose(1, 2, 0))
    weights = np.sqrt(tokens[0] * tokens[1])
    order = np.argsort(weights, kind="stable")
    return SharedProfiles(
        layers=layers,
        first=profiles[0][..., order],
        second=profiles[1][..., order],
        weights=weights[order] / max(weights.sum(), 1),
        tokens=(int(tokens[0].sum()), int(tokens[1].sum())),
    )


def _frequent_types(store: RoutingStore) -> dict[str, int]:
    """Readable text → row of the types with enough tokens; texts of two types are left out."""
    names = store.facts.type_strings[:-1]
    number = Counter(names)
    tokens = store.tables["type_tokens"]
    return {
        name: row
        for row, name in enumerate(names)
        if tokens[row] >= MIN_OCCURRENCES and number[name] == 1
    }


def _standardised(profiles: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Centres and scales over types so that products of two add up to a correlation: (…, X)."""
    centred = profiles - (profiles @ weights)[..., None]
    norm = np.sqrt((centred**2 @ weights)[..., None])
    unit: np.ndarray = np.divide(centred, norm, out=np.zeros_like(centred), where=norm > 1e-12)
    return unit * np.sqrt(weights)


def _matched(
    shared: SharedProfiles, generator: np.random.Generator, permutations: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Similarity of each expert of the first run to its match, the match, and the null.

    Returns:
        (L, E₁) with NaN where an expert has no match, (L, E₁) with −1 there, and (P, L, E₁); all
        without layers where there is too little to compare.
    """
    experts = shared.first.shape[1]
    if not len(shared.layers) or len(shared.weights) < MIN_TYPES:
        nothing = np.zeros((0, experts))
        return nothing, nothing.astype(np.int64), np.zeros((permutations, 0, experts))
    first = _standardised(shared.first, shared.weights)
    observed, matches = _best(first, shared.second, shared.weights)
    null = [
        _best(first, shared.second[..., order], shared.weights)[0]
        for order in _orders(generator, len(shared.weights), permutations)
    ]
    return observed, matches, np.stack(null)


def _best(
    first: np.ndarray, second: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs standardised (L, E₁, X) with raw (L, E₂, X): similarity and match, both (L, E₁)."""
    similarity = np.full(first.shape[:2], np.nan)
    matches = np.full(first.shape[:2], -1, dtype=np.int64)
    correlations = first @ _standardised(second, weights).swapaxes(1, 2)
    for layer, table in enumerate(correlations):
        experts, matched = linear_sum_assignment(table, maximize=True)
        similarity[layer, experts] = table[experts, matched]
        matches[layer, experts] = matched
    return similarity, matches


def _orders(generator: np.random.Generator, types: int, permutations: int) -> np.ndarray:
    """Orders of types that move each only among those of like frequency: (P, X)."""
    keys = generator.random((permutations, types)) + np.arange(types) // BLOCK
    orders: np.ndarray = np.argsort(keys, axis=1)
    return orders
