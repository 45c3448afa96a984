"""What a unit's choices are beyond what its token types alone make expect."""

import numpy as np
from scipy import sparse

PRIOR = 1.0  # tokens routed as the layer's load, added to every type
FEWEST_GROUPS = 5  # of a type; with fewer, the prior would pass for what its group does


def summed_choices(
    experts: np.ndarray, rows: np.ndarray, num_rows: int, num_experts: int, weights: np.ndarray
) -> np.ndarray:
    """Adds the weights of tokens by row, layer and chosen expert: (R, L·E).

    Args:
        experts: (N, L, k) chosen experts; E = slot that no expert executed.
        rows: (N) row of each token.
        num_rows: R.
        num_experts: E.
        weights: (N) of each token.
    """
    layers, slots = experts.shape[1], num_experts + 1
    sums = np.zeros((num_rows, layers, slots))
    for layer in range(layers):
        for chosen in experts[:, layer].T:
            counted = np.bincount(rows * slots + chosen, weights, num_rows * slots)
            sums[:, layer] += counted.reshape(num_rows, slots)
    return sums[..., :-1].reshape(num_rows, -1)


def widespread_types(types: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Whether each token's type is seen in at least five groups: (N)."""
    number = int(groups.max(initial=-1)) + 1
    cells = np.unique(types.astype(np.int64) * number + groups)
    seen = np.bincount(cells // max(number, 1), minlength=int(types.max(initial=-1)) + 1)
    widespread: np.ndarray = seen[types] >= FEWEST_GROUPS
    return widespread


def type_residuals(
    experts: np.ndarray,
    types: np.ndarray,
    units: np.ndarray,
    groups: np.ndarray,
    num_experts: int,
) -> np.ndarray:
    """Shares of choices of each unit, less what its types chose in all other groups: (U, L·E).

    Expected of a token of type x in group g is p₋g(e | x) = (C_xe − C_xe^g + a·π_e) /
    (C_x − C_x^g + a) with a = 1 and π the layer's load. Types of fewer than five groups are left
    out; a unit without any other has residuals of 0.

    Args:
        experts: (N, L, k) chosen experts; E = slot that no expert executed.
        types: (N) type of each token.
        units: (N) unit of each token.
        groups: (U) group of each unit.
        num_experts: E.
    """
    kept = widespread_types(types, groups[units])
    experts, units = experts[kept], units[kept]
    _, types = np.unique(types[kept], return_inverse=True)
    number, own = len(groups), groups[units]
    shape = int(types.max(initial=-1)) + 1
    ones = np.ones(len(types))
    by_unit = sparse.csr_array((ones, (units, types)), (number, shape))
    by_group = sparse.csr_array((ones, (own, types)), (int(groups.max()) + 1, shape))
    by_unit.sum_duplicates()
    by_group.sum_duplicates()
    total = np.bincount(types, minlength=shape)
    choices = summed_choices(experts, types, shape, num_experts, ones)
    load = choices.sum(axis=0) / max(len(types), 1)
    rows = np.repeat(np.arange(number), np.diff(by_unit.indptr))
    inside = np.asarray(by_group[groups[rows], by_unit.indices])
    weighted = sparse.csr_array(
        (by_unit.data / (total[by_unit.indices] - inside + PRIOR), by_unit.indices, by_unit.indptr),
        by_unit.shape,
    )
    expected = weighted @ choices + np.asarray(weighted.sum(axis=1))[:, None] * PRIOR * load
    for places in _units_of_groups(groups):  # a group's own choices, out of each of its units
        tokens = np.flatnonzero(places[own] >= 0)
        unit = places[own[tokens]]
        left = np.asarray(weighted[unit, types[tokens]])
        expected -= summed_choices(experts[tokens], unit, number, num_experts, left)
    observed = summed_choices(experts, units, number, num_experts, ones)
    sizes = np.maximum(np.bincount(units, minlength=number), 1)
    residuals: np.ndarray = (observed - expected) / sizes[:, None]
    return residuals


def _units_of_groups(groups: np.ndarray) -> np.ndarray:
    """Row r holds each group's r-th unit, −1 where it has fewer: (most units of a group, G)."""
    order = np.argsort(groups, kind="stable")
    counts = np.bincount(groups)
    rank = np.arange(len(groups)) - np.repeat(np.cumsum(counts) - counts, counts)
    places = np.full((int(counts.max(initial=0)), len(counts)), -1)
    places[rank, groups[order]] = order
    return places
