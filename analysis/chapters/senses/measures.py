"""E16, senses: how differently one token is routed in texts that use it in different senses.

The measure is that of the interpretable-moes project (distance between a token's routing by sense
and overall); new is the null: the same groups of texts, their senses permuted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...data.run import RunData
from ...statistics.draws import Draws
from ...statistics.information import divergence_bits
from ...statistics.permutations import (
    MIN_DOCUMENTS_FOR_P,
    document_orders,
    family_wise_p,
    permutation_p,
    permuted_sums,
    permuted_topics,
    topic_sums,
)

MIN_OCCURRENCES = 20  # of a token in a sense; below, the sense is left out
TOKEN_COLUMNS = ["token", "spelling", "layer", "senses", "occurrences", "texts", "groups"]
NULL_COLUMNS = ["distance", "null_mean", "null_high", "excess", "p_value", "family_p_value"]
SENSE_COLUMNS = ["token", "sense", "layer", "occurrences", "groups", "distance", "null_mean"]


@dataclass(frozen=True)
class SensesRecord:
    """How senses are routed.

    Attributes:
        tokens: one row per token and layer: `spelling` (its tokens, joined by "|"), `senses`,
            `occurrences`, `texts`, `groups`, `distance` (mean over senses of the Jensen–Shannon
            distance between the routing in a sense and overall, 0 to `largest_distance`),
            `null_mean` and `null_high` (97.5%) under permutation of senses over groups, `excess` =
            distance − null_mean, `p_value`, and `family_p_value` over all tokens and layers.
        senses: one row per token, sense and layer: its own `distance` and `null_mean`.
        left_out: one row per sense that is too rare to be tested, or whose token has no second
            sense: `token`, `sense`, `occurrences`, `groups`.
    """

    tokens: pd.DataFrame
    senses: pd.DataFrame
    left_out: pd.DataFrame


@dataclass(frozen=True)
class _Token:
    """Choices of one token by group: one spelling, senses that are frequent enough.

    Attributes:
        counts: (U, L, E) choices summed over the occurrences that a group has in a sense.
        sense_ids: (U,) index into `senses`.
        occurrences: (U,).
        texts: how many the groups hold.
    """

    name: str
    spelling: str
    senses: Sequence[str]
    counts: np.ndarray
    sense_ids: np.ndarray
    occurrences: np.ndarray
    texts: int


def sense_routing(
    occurrences: pd.DataFrame,
    counts: np.ndarray,
    layers: Sequence[int],
    permutations: int,
    generator: np.random.Generator,
) -> SensesRecord:
    """Tests every token of a store.

    A token counts in its most frequent spelling alone: another number of pieces, or a capital,
    is another token. A group is the unit (a text without one is its own): its sense is permuted
    with all its occurrences.

    Args:
        occurrences: `RoutingStore.senses`.
        counts: `RoutingStore.sense_counts`, (N, L, E).
        layers: layer numbers (L).
        permutations: P.
        generator: of the permutations.
    """
    tokens, left_out = _testable(occurrences, counts)
    observed, nulls, of_sense = [], [], []
    for token in tokens:
        number = len(token.senses)
        orders = document_orders(generator, len(token.sense_ids), permutations)
        flat = token.counts.reshape(len(token.counts), -1).astype(np.float64)
        sums = np.zeros((number, flat.shape[1]))
        np.add.at(sums, token.sense_ids, flat)
        permuted = permuted_topics(orders, token.sense_ids)
        drawn = np.concatenate(list(permuted_sums(flat, permuted, number)))
        shape = token.counts.shape[1:]
        own = sense_distances(sums.reshape(number, *shape))  # (S, L)
        null = sense_distances(drawn.reshape(permutations, number, *shape))  # (P, S, L)
        observed.append(own.mean(axis=0))
        nulls.append(null.mean(axis=1))
        of_sense.append(_sense_rows(token, own, null.mean(axis=0), layers))
    empty = pd.DataFrame(columns=SENSE_COLUMNS)
    return SensesRecord(
        _token_rows(tokens, observed, nulls, layers),
        pd.concat(of_sense, ignore_index=True) if of_sense else empty,
        left_out,
    )


def sense_distances(sums: np.ndarray) -> np.ndarray:
    """Jensen–Shannon distance of each sense's routing to the mean of all senses.

    sqrt(H((p + q) / 2) − (H(p) + H(q)) / 2) with H in bits: 0 for equal routing,
    `largest_distance` for disjoint.

    Args:
        sums: (…, S, L, E) choices.

    Returns:
        (…, S, L).
    """
    p = sums / np.maximum(sums.sum(axis=-1, keepdims=True), 1)
    q = np.broadcast_to(p.mean(axis=-3, keepdims=True), p.shape)
    distances: np.ndarray = np.sqrt(np.maximum(divergence_bits(p, q), 0.0))
    return distances


def largest_distance(senses: int) -> float:
    """Distance of one of S senses that share no expert: the mean holds the sense itself.

    0.56 for 2 senses, 0.68 for 3; 1 for ever more.
    """
    own, other = (1 + 1 / senses) / 2, 1 / (2 * senses)  # mass of (p + q) / 2
    mixture = -own * np.log2(own) - (senses - 1) * other * np.log2(other)
    return float(np.sqrt(mixture - np.log2(senses) / 2))


def _testable(occurrences: pd.DataFrame, counts: np.ndarray) -> tuple[list[_Token], pd.DataFrame]:
    """Sorts out which tokens and senses are frequent enough."""
    tokens, left_out = [], []
    alone = [f"text {text}" for text in occurrences.text]
    units = np.where(occurrences.group.fillna("") == "", alone, occurrences.group)
    for name, own in occurrences.assign(unit=units).groupby("token", sort=True):
        spelling = str(own.spelling.mode().iloc[0])  # the first of equally frequent ones
        own = own[own.spelling == spelling]
        sizes = own.groupby("sense", sort=True).unit.agg(["size", "nunique"])
        enough = (sizes["size"] >= MIN_OCCURRENCES) & (sizes["nunique"] >= MIN_DOCUMENTS_FOR_P)
        if enough.sum() < 2:
            enough[:] = False
        for sense, row in sizes[~enough].iterrows():
            left_out.append((str(name), str(sense), int(row["size"]), int(row["nunique"])))
        kept = own[own.sense.isin(sizes.index[enough])]
        if not kept.empty:
            tokens.append(_by_group(str(name), spelling, kept, counts))
    columns = ["token", "sense", "occurrences", "groups"]
    return tokens, pd.DataFrame(left_out, columns=columns)


def _by_group(name: str, spelling: str, rows: pd.DataFrame, counts: np.ndarray) -> _Token:
    """Sums a token's choices over the occurrences that a group has in one sense."""
    senses = sorted(rows.sense.unique())
    of_rows = np.array([senses.index(sense) for sense in rows.sense])
    numbers = np.unique(rows.unit.to_numpy(dtype=str), return_inverse=True)[1]
    _, first, place = np.unique(
        numbers * len(senses) + of_rows, return_index=True, return_inverse=True
    )
    sums = topic_sums(counts[rows.index.to_numpy()].astype(np.int64), place, len(first))
    return _Token(
        name=name,
        spelling=spelling,
        senses=senses,
        counts=sums,
        sense_ids=of_rows[first],
        occurrences=np.bincount(place),
        texts=rows.text.nunique(),
    )


def _token_rows(
    tokens: Sequence[_Token],
    observed: Sequence[np.ndarray],
    nulls: Sequence[np.ndarray],
    layers: Sequence[int],
) -> pd.DataFrame:
    if not tokens:
        return pd.DataFrame(columns=[*TOKEN_COLUMNS, *NULL_COLUMNS])
    distance, null = np.stack(observed), np.stack(nulls, axis=1)  # (X, L), (P, X, L)
    mean, spread = null.mean(axis=0), null.std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    columns = {
        "distance": distance,
        "null_mean": mean,
        "null_high": np.quantile(null, 0.975, axis=0),
        "excess": distance - mean,
        "p_value": permutation_p(distance, null),
        "family_p_value": family_wise_p((distance - mean) / scale, (null - mean) / scale),
    }
    facts = pd.DataFrame(
        [
            (token.name, token.spelling, len(token.senses), token.texts, len(token.sense_ids))
            for token in tokens
            for _ in layers
        ],
        columns=["token", "spelling", "senses", "texts", "groups"],
    )
    facts["layer"] = np.tile(layers, len(tokens))
    facts["occurrences"] = np.repeat([token.occurrences.sum() for token in tokens], len(layers))
    return facts[TOKEN_COLUMNS].assign(**{name: values.ravel() for name, values in columns.items()})


def _sense_rows(
    token: _Token, distance: np.ndarray, null_mean: np.ndarray, layers: Sequence[int]
) -> pd.DataFrame:
    number = len(token.senses)
    sizes = np.bincount(token.sense_ids, token.occurrences, number).astype(np.int64)
    return pd.DataFrame(
        {
            "token": token.name,
            "sense": np.repeat(token.senses, len(layers)),
            "layer": np.tile(layers, number),
            "occurrences": np.repeat(sizes, len(layers)),
            "groups": np.repeat(np.bincount(token.sense_ids, minlength=number), len(layers)),
            "distance": distance.ravel(),
            "null_mean": null_mean.ravel(),
        }
    )


def measure_senses(run: RunData, draws: Draws) -> SensesRecord | None:
    """Computes the record; None for a store without texts labelled by sense."""
    record = sense_routing(
        run.store.senses,
        run.store.sense_counts,
        run.documents.layers,
        draws.permutations,
        draws.generator,
    )
    return None if record.tokens.empty and record.left_out.empty else record
