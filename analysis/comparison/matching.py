"""E14 between runs: which expert of one run is which of another, told by the token types they take.

Expert numbers mean nothing across runs. Experts of the same layer are paired so that their token
profiles agree best, and the agreement is held against what such a choice of the best pairs gives
for types shuffled. The profiles come from the documents that both runs keep token by token.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...inference.store.reader import RoutingStore
from ..data.documents import document_counts
from ..data.sample import token_sample
from ..data.token_types import MIN_OCCURRENCES
from ..statistics.permutations import family_wise_p
from ..statistics.profiles import (
    BLOCK,
    MOST_OF_ONE_GROUP,
    matched,
    standardised,
    type_orders,
    type_profiles,
)

MIN_TYPES = 2 * BLOCK


@dataclass(frozen=True)
class SharedProfiles:
    """Types that both runs saw at least 10 times, in no group half of them, rarest first.

    Attributes:
        layers: numbers that both models have (L).
        first: (L, E₁, X) share of each type's tokens that chose the expert, freed of what the
            groups of its documents do (`statistics.profiles.type_profiles`).
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
    found = [_frequent_types(store) for store in (first, second)]
    names = sorted(set(found[0][0]) & set(found[1][0]))
    profiles, tokens = [], []
    for store, (rows, shares, sizes) in zip((first, second), found, strict=True):
        own = np.array([rows[name] for name in names], dtype=np.int64)
        places = [store.layers.index(layer) for layer in layers]
        tokens.append(sizes[own].astype(float))
        profiles.append(shares[own][:, places].transpose(1, 2, 0))
    weights = np.sqrt(tokens[0] * tokens[1])
    order = np.argsort(weights, kind="stable")
    return SharedProfiles(
        layers=layers,
        first=profiles[0][..., order],
        second=profiles[1][..., order],
        weights=weights[order] / max(weights.sum(), 1),
        tokens=(int(tokens[0].sum()), int(tokens[1].sum())),
    )


def _frequent_types(store: RoutingStore) -> tuple[dict[str, int], np.ndarray, np.ndarray]:
    """Readable text → row of the types that can be compared, and all (X, L, E) shares, (X) tokens.

    Types with a row of their own and a text that no other has, with enough tokens in the sampled
    documents, and less than half of them from one group.
    """
    nothing = np.zeros((0, len(store.layers), store.num_experts)), np.zeros(0, dtype=np.int64)
    if not len(store.sample):
        return {}, *nothing
    data = document_counts(store)
    sample = token_sample(store, data)
    if not len(sample.types):
        return {}, *nothing
    frame = store.documents
    group_of = dict(zip(frame["id"].astype(str), frame["group"].astype(str), strict=True))
    names = [group_of[data.ids[row]] for row in sample.rows]
    groups = np.unique(names, return_inverse=True)[1]
    profiles = type_profiles(
        sample.experts, sample.types, groups[sample.documents], store.num_experts
    )
    texts = dict(zip(store.facts.types, store.facts.type_strings, strict=False))
    number = Counter(texts.values())
    enough = (profiles.tokens >= MIN_OCCURRENCES) & (profiles.of_one_group < MOST_OF_ONE_GROUP)
    rows = {
        texts[token]: row
        for row, token in enumerate(sample.token_ids.tolist())
        if enough[row] and token in texts and number[texts[token]] == 1
    }
    return rows, profiles.shares, profiles.tokens


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
    first = standardised(shared.first, shared.weights)
    observed, matches = matched(first, shared.second, shared.weights)
    null = [
        matched(first, shared.second[..., order], shared.weights)[0]
        for order in type_orders(generator, len(shared.weights), permutations)
    ]
    return observed, matches, np.stack(null)
