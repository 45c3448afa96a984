"""What the types of tokens leave of a group's choices, each type as routed in all other groups."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from .units import Units

FEWEST_GROUPS = 5  # of a type that is looked at: in fewer, its routing elsewhere is hardly known
FEWEST_COMMON = 0.2  # overlap of the topics' types, and share of tokens tested, below which the
# same type in another topic is too rare to be compared


@dataclass(frozen=True)
class TypeCells:
    """Tokens by unit and type, as far as their types are seen in enough groups.

    Attributes:
        rows: (M) tokens that are kept, of N.
        units: (M) unit of each.
        types: (M) type of each, from 0 to X − 1.
        tokens: (U) kept tokens of each unit.
        weights: (U, X) tokens of a unit over the type's tokens in the other groups.
        own_rows: (Q) kept tokens (index into `rows`) of a unit's group, each as often as units of
            that group have its type.
        own_units: (Q) these units.
        own_weights: (Q) and their weights of the type.
        coverage: share of all tokens that is kept.
        overlap: mean over labels of Σ_x min(share of x in the label, in the others), of all tokens.
    """

    rows: np.ndarray
    units: np.ndarray
    types: np.ndarray
    tokens: np.ndarray
    weights: sparse.csr_array
    own_rows: np.ndarray
    own_units: np.ndarray
    own_weights: np.ndarray
    coverage: float
    overlap: float

    @property
    def comparable(self) -> bool:
        """Whether enough of the tokens are of types that several labels share."""
        return min(self.coverage, self.overlap) >= FEWEST_COMMON


def type_cells(types: np.ndarray, token_units: np.ndarray, units: Units) -> TypeCells:
    """Sorts tokens by unit and type.

    Args:
        types: (N) type of each token, from 0; any key that is to be held fixed.
        token_units: (N) unit of each token.
        units: by group and label.
    """
    number, width = len(units.topics), int(types.max(initial=-1)) + 1
    groups = units.groups[token_units]
    seen = np.unique(groups * width + types) % max(width, 1)
    enough = np.bincount(seen, minlength=width) >= FEWEST_GROUPS
    rows = np.flatnonzero(enough[types])
    kept, own_units = np.cumsum(enough)[types[rows]] - 1, token_units[rows]
    shape = number, int(enough.sum())
    mix = sparse.csr_array((np.ones(len(rows)), (own_units, kept)), shape)
    mix.sum_duplicates()
    spread = sparse.csr_array(
        (np.ones(number), (units.groups, np.arange(number))), (units.num_groups, number)
    )
    of_group = (spread @ mix).tocsr()  # (G, X)
    expanded = spread.T.tocsr() @ of_group  # (U, X): tokens of the unit's whole group
    rows_of_mix = np.repeat(np.arange(number), np.diff(mix.indptr))
    inside = _at(expanded, rows_of_mix, mix.indices)
    outside = np.bincount(kept, minlength=shape[1])[mix.indices] - inside
    weights = sparse.csr_array((mix.data / outside, mix.indices, mix.indptr), shape)
    pairs = _own_pairs(own_units, kept, units, weights)
    return TypeCells(
        rows=rows,
        units=own_units,
        types=kept,
        tokens=np.bincount(own_units, minlength=number),
        weights=weights,
        own_rows=pairs[0],
        own_units=pairs[1],
        own_weights=pairs[2],
        coverage=len(rows) / max(len(types), 1),
        overlap=type_overlap(types, units.topics[token_units], units.num_topics),
    )


def type_overlap(types: np.ndarray, labels: np.ndarray, num_labels: int) -> float:
    """Mean over labels of Σ_x min(share of type x in the label, in the others): 0 to 1."""
    width = int(types.max(initial=-1)) + 1
    counts = np.bincount(labels * width + types, minlength=num_labels * width)
    counts = counts.reshape(num_labels, width)
    others = counts.sum(axis=0) - counts
    own = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    rest = others / np.maximum(others.sum(axis=1, keepdims=True), 1)
    return float(np.minimum(own, rest).sum(axis=1).mean())


def expected_choices(
    cells: TypeCells, experts: np.ndarray, num_experts: int
) -> tuple[np.ndarray, np.ndarray]:
    """Choices of each unit, and what its types would give as routed in all other groups.

    p₋g(e | x) = (C_xe − C_xe^g) / (C_x − C_x^g), over the tokens of type x that are not of the
    unit's group. Where the routing of a type does not depend on the label, the difference of the
    two has mean 0, whatever the types of a label are.

    Args:
        cells: of the tokens.
        experts: (N, k) choices of one layer; E = slot that no expert executed.
        num_experts: E.

    Returns:
        (U, E) each.
    """
    number, width = cells.weights.shape
    observed, own = np.zeros((2, number, num_experts + 1))
    choices = np.zeros((width, num_experts + 1))
    for chosen in experts[cells.rows].T:
        observed += _counted(cells.units, chosen, None, observed.shape)
        choices += _counted(cells.types, chosen, None, choices.shape)
        own += _counted(cells.own_units, chosen[cells.own_rows], cells.own_weights, own.shape)
    expected = cells.weights @ choices - own
    return observed[:, :-1], expected[:, :-1]


def residual_shares(
    experts: np.ndarray, types: np.ndarray, token_units: np.ndarray, units: Units, num_experts: int
) -> np.ndarray:
    """Shares of choices of each unit less what its types make expect, all layers: (U, L·E).

    A unit without a type of enough groups has residuals of 0.

    Args:
        experts: (N, L, k) chosen experts; E = slot that no expert executed.
        types: (N) type of each token, from 0; any key that is to be held fixed.
        token_units: (N) unit of each token.
        units: by group and label.
        num_experts: E.
    """
    cells = type_cells(types, token_units, units)
    tokens = np.maximum(cells.tokens, 1)[:, None]
    parts = []
    for layer in range(experts.shape[1]):
        observed, expected = expected_choices(cells, experts[:, layer], num_experts)
        parts.append((observed - expected) / tokens)
    return np.concatenate(parts, axis=1)


def _counted(
    rows: np.ndarray, chosen: np.ndarray, weights: np.ndarray | None, shape: tuple[int, ...]
) -> np.ndarray:
    """Adds up (weights of) choices by row and expert."""
    size = shape[0] * shape[1]
    return np.bincount(rows * shape[1] + chosen, weights, size).reshape(shape)


def _at(values: sparse.csr_array, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The values at these places."""
    if not len(rows):  # scipy cannot be asked for none
        return np.zeros(0)
    found: np.ndarray = np.asarray(values[rows, columns]).ravel()
    return found


def _own_pairs(
    token_units: np.ndarray, types: np.ndarray, units: Units, weights: sparse.csr_array
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each token with every unit of its group that has its type, and the unit's weight of it."""
    order = np.argsort(units.groups, kind="stable")
    sizes = np.bincount(units.groups, minlength=units.num_groups)
    starts = np.cumsum(sizes) - sizes
    groups = units.groups[token_units]
    rows = np.repeat(np.arange(len(token_units)), sizes[groups])
    within = np.arange(len(rows)) - np.repeat(
        np.cumsum(sizes[groups]) - sizes[groups], sizes[groups]
    )
    partners = order[starts[groups[rows]] + within]
    found = _at(weights, partners, types[rows])
    held = found > 0
    return rows[held], partners[held], found[held]
