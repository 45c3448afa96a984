"""Permutations within strata of units that are alike in something else, and what labels explain."""

import numpy as np

from .information import entropy_bits
from .permutations import permuted_sums


def quantile_strata(values: np.ndarray, number: int) -> np.ndarray:
    """Sorts values (U) into at most `number` bins of about as many; equal values share a bin."""
    edges = np.quantile(values, np.arange(1, number) / number)
    bins = np.searchsorted(edges, values, side="right")
    strata: np.ndarray = np.unique(bins, return_inverse=True)[1]
    return strata


def stratified_labels(
    labels: np.ndarray, strata: np.ndarray, permutations: int, generator: np.random.Generator
) -> np.ndarray:
    """Labels as they are and under P permutations that stay within strata: (P + 1, U)."""
    every = np.tile(labels, (permutations + 1, 1))
    for stratum in np.unique(strata):
        own = np.flatnonzero(strata == stratum)
        every[1:, own] = generator.permuted(every[1:, own], axis=1)
    return every


def movable_share(labels: np.ndarray, strata: np.ndarray) -> float:
    """Share of units in a stratum that holds another label, too: the rest cannot be permuted."""
    kinds = [len(np.unique(labels[strata == stratum])) for stratum in strata]
    return float(np.mean(np.array(kinds) > 1))


def explained_entropy(
    shares: np.ndarray, labels: np.ndarray, num_experts: int
) -> tuple[np.ndarray, np.ndarray]:
    """I(label; e) in bits of units' shares, under each permutation, and H(e): (P, L) and (L).

    I = H(Σ_v w_v p_v) − Σ_v w_v H(p_v) with p_v the mean share of the units of value v, and w_v
    their part of all units.

    Args:
        shares: (U, L·E) expert shares; each layer adds up to the same in every unit.
        labels: (P, U) value of each unit, from 0.
        num_experts: E.
    """
    number = int(labels.max()) + 1
    sizes = np.bincount(labels[0], minlength=number)
    total = entropy_bits(shares.sum(axis=0).reshape(-1, num_experts))
    weights = (sizes / sizes.sum())[:, None]
    inner = [
        (entropy_bits(sums.reshape(*sums.shape[:2], -1, num_experts)) * weights).sum(axis=1)
        for sums in permuted_sums(shares.astype(float), labels, number)
    ]
    return total - np.concatenate(inner), total


def position_entropy(counts: np.ndarray, generator: np.random.Generator, draws: int) -> np.ndarray:
    """I(position bin; e) in bits, as it is and with the bins of each unit exchanged: (1 + P, L).

    Args:
        counts: (U, B, L, E) choices by unit and bin; a unit may lack bins.
        generator: exchanges the bins that a unit has.
        draws: P.
    """

    def information(table: np.ndarray) -> np.ndarray:
        sums = table.sum(axis=0)  # (B, L, E)
        weights = sums.sum(axis=-1) / np.maximum(sums.sum(axis=(0, 2)), 1)
        bits: np.ndarray = entropy_bits(sums.sum(axis=0)) - (weights * entropy_bits(sums)).sum(0)
        return bits

    present = counts.sum(axis=(2, 3)) > 0
    found = [information(counts)]
    for _ in range(draws):
        keys = np.where(present, generator.random(present.shape), 2.0)
        order = np.argsort(keys, axis=1)  # the bins that a unit has, shuffled, first
        places = np.argsort(~present, axis=1, kind="stable")  # the same in their order
        shuffled = np.zeros_like(counts)
        rows = np.arange(len(counts))[:, None]
        shuffled[rows, places] = counts[rows, order]
        found.append(information(shuffled))
    return np.stack(found)
