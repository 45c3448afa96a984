"""E8 and E9: which experts are chosen together, and which follow each other across layers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...data.run import RunData
from ...statistics.draws import Draws
from ...statistics.information import mutual_information_bits
from .locality import locality

FIT_STEPS, FIT_TOLERANCE = 200, 1e-7
DRAWS = 5  # of the null of the flow


def set_sizes(pairs: np.ndarray, tokens: int, top_k: int) -> np.ndarray | None:
    """Share of tokens with 0 … k experts, as far as pairs and loads tell it: (k + 1).

    The shares of k, k − 1 and k − 2 experts that give the observed choices and pairs per token:
    all at k where no slot is empty, exact for k = 2.

    Args:
        pairs: (E, E) tokens that chose both; diagonal: tokens that chose the expert.
        tokens: all of them, from 1.
        top_k: k, from 2.

    Returns:
        None where no such shares exist: experts that choose their tokens, or many empty slots.
    """
    choices = int(np.trace(pairs))
    empty = top_k * tokens - choices
    squares = int(pairs.sum()) - choices - top_k * (top_k - 1) * tokens + (2 * top_k - 1) * empty
    two = (squares - empty) / 2  # tokens with two empty slots, by the first two moments
    counts = np.array([two, empty - 2 * two, tokens - empty + two])
    if (counts < 0).any():
        return None
    sizes = np.zeros(top_k + 1)
    sizes[-3:] = counts / tokens
    return sizes


def pair_baseline(load: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Share of tokens that would choose experts i and j if only the load decided: (E, E).

    The distribution over sets of experts with these sizes and inclusion probabilities and the
    largest entropy, P(S given its size) ∝ Π_{i∈S} w_i (conditional Poisson sampling; Chen, Dempster
    and Liu 1994). Unlike the product of loads it knows that a token has k choices and never the
    same expert twice.

    Args:
        load: (E) share of tokens that chose each expert; adds up to the mean size.
        sizes: (k + 1) share of tokens with 0 … k experts, k from 2.
    """
    experts, top_k = len(load), len(sizes) - 1
    mean_size = float(np.arange(top_k + 1) @ sizes)
    target = np.clip(load, 1e-9, 1 - 1e-9)
    target = target * min(1.0, (mean_size - 1e-6) / target.sum())
    weights = target / (1 - target)
    for _ in range(FIT_STEPS):
        weights = weights / np.exp(np.log(weights).mean())
        whole, without = _symmetric_sums(weights, top_k)
        included = weights * (without[:, :-1] @ (sizes / whole)[1:])
        if np.abs(included - target).max() < FIT_TOLERANCE:
            break
        weights = weights * target / included
    whole, _ = _symmetric_sums(weights, top_k)
    shares = np.zeros((experts, experts))
    for expert in range(experts):
        others = np.delete(weights, expert)
        rest = _symmetric_sums(others, top_k)[1][:, :-2] @ (sizes / whole)[2:]
        shares[expert, np.arange(experts) != expert] = weights[expert] * others * rest
    np.fill_diagonal(shares, target)
    return shares


def _symmetric_sums(weights: np.ndarray, degree: int) -> tuple[np.ndarray, np.ndarray]:
    """Elementary symmetric polynomials e_0 … e_k of the weights.

    Args:
        weights: (E) positive.
        degree: k.

    Returns:
        Of all weights (k + 1), and of all but each one (E, k + 1): those before it times those
        after it, so that nothing is ever subtracted.
    """
    before, after = _running_sums(weights, degree), _running_sums(weights[::-1], degree)[::-1]
    without = np.zeros((len(weights), degree + 1))
    for taken in range(degree + 1):
        without[:, taken:] += before[:-1, [taken]] * after[1:, : degree + 1 - taken]
    return before[-1], without


def _running_sums(weights: np.ndarray, degree: int) -> np.ndarray:
    """Elementary symmetric polynomials of the first n weights: (E + 1, k + 1)."""
    sums = np.zeros((len(weights) + 1, degree + 1))
    sums[:, 0] = 1
    for taken in range(1, degree + 1):
        sums[1:, taken] = np.cumsum(weights * sums[:-1, taken - 1])
    return sums


def coactivation_pairs(
    table: np.ndarray, tokens: int, layers: Sequence[int], top_k: int
) -> pd.DataFrame:
    """How often two experts share a token, against what their loads alone give.

    Args:
        table: (L, E, E) tokens that chose both; diagonal: tokens that chose the expert.
        tokens: untouched tokens.
        layers: layer numbers.
        top_k: k.

    Returns:
        One row per layer and pair of different experts, both ways: `share` of tokens that chose
        both, `base_share` (`pair_baseline`), `lift` = N_ij·N / (N_i·N_j), `base_lift` (the same of
        the baseline), `log2_ratio` of share over base share (half a token added to both), `tokens`.
        Empty for k = 1, and where `set_sizes` does not know how many experts tokens have.
    """
    columns = ["layer", "expert", "other", "share", "base_share", "lift", "base_lift", "log2_ratio"]
    nothing = pd.DataFrame(columns=columns)
    if top_k < 2 or not tokens:
        return nothing
    frames = []
    for position, layer in enumerate(layers):
        sizes = set_sizes(table[position], tokens, top_k)
        if sizes is None:
            return nothing
        shares = table[position] / tokens
        load = np.diagonal(shares)
        base = pair_baseline(load, sizes)
        first, second = np.nonzero(~np.eye(len(load), dtype=bool))
        product = np.outer(load, load)
        lift = np.divide(shares, product, out=np.full(shares.shape, np.nan), where=product > 0)
        base_lift = np.divide(base, product, out=np.full(shares.shape, np.nan), where=product > 0)
        ratio = np.log2((table[position] + 0.5) / (base * tokens + 0.5))
        frames.append(
            pd.DataFrame(
                {
                    "layer": layer,
                    "expert": first,
                    "other": second,
                    "share": shares[first, second],
                    "base_share": base[first, second],
                    "lift": lift[first, second],
                    "base_lift": base_lift[first, second],
                    "log2_ratio": ratio[first, second],
                    "tokens": tokens,
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def layer_flow(
    table: np.ndarray, layers: Sequence[int], generator: np.random.Generator
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Where the tokens of an expert go in the next layer, by first choices.

    Args:
        table: (L − 1, E, E) tokens by first choice in one layer and in the next; without those
            that have no expert in one of the two.
        layers: layer numbers.
        generator: draws the null: every token goes on by the next layer's load.

    Returns:
        (flows, information). Flows: one row per pair of layers and experts with `layer`,
        `next_layer`, `expert`, `next_expert`, `share` of these tokens, `base_share` (product of the
        two loads), `log2_ratio` (half a token added to both), `tokens`. Information: per pair of
        layers `plug_in_bits`, `null_bits`, `bits` (corrected), `share` of the next layer's
        entropy, `tokens`.
    """
    flows, information = [], []
    for position, counts in enumerate(table):
        total = int(counts.sum())
        pair = {"layer": layers[position], "next_layer": layers[position + 1]}
        base = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / max(total, 1)
        first, second = np.indices(counts.shape).reshape(2, -1)
        flows.append(
            pd.DataFrame(
                {
                    **pair,
                    "expert": first,
                    "next_expert": second,
                    "share": (counts / max(total, 1)).ravel(),
                    "base_share": (base / max(total, 1)).ravel(),
                    "log2_ratio": np.log2((counts + 0.5) / (base + 0.5)).ravel(),
                    "tokens": total,
                }
            )
        )
        load = counts.sum(axis=0) / max(total, 1)
        drawn = [
            generator.multinomial(counts.sum(axis=1), load) for _ in range(DRAWS if total else 0)
        ]
        null = float(np.mean([mutual_information_bits(x) for x in drawn])) if drawn else 0.0
        plug_in = mutual_information_bits(counts)
        entropy = mutual_information_bits(np.diag(counts.sum(axis=0)))
        information.append(
            {
                **pair,
                "plug_in_bits": plug_in,
                "null_bits": null,
                "bits": plug_in - null,
                "share": (plug_in - null) / entropy if entropy > 0 else np.nan,
                "tokens": total,
            }
        )
    names = ["layer", "next_layer", "expert", "next_expert", "share", "base_share", "log2_ratio"]
    return (
        pd.concat(flows, ignore_index=True) if flows else pd.DataFrame(columns=names),
        pd.DataFrame(information),
    )


@dataclass(frozen=True)
class PathsRecord:
    """Which experts go together.

    Attributes:
        pairs: `coactivation_pairs`.
        flows: `layer_flow`, its first frame.
        flow_information: its second.
        locality: `locality.locality`.
    """

    pairs: pd.DataFrame
    flows: pd.DataFrame
    flow_information: pd.DataFrame
    locality: pd.DataFrame


def measure_paths(run: RunData, draws: Draws) -> PathsRecord:
    """Computes the record."""
    data, tables = run.documents, run.store.tables
    flows, information = layer_flow(tables["transition"], data.layers, draws.generator)
    return PathsRecord(
        pairs=coactivation_pairs(
            tables["coactivation"], int(data.tokens.sum()), data.layers, data.top_k
        ),
        flows=flows,
        flow_information=information,
        locality=locality(run.sample),
    )
