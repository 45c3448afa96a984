"""Residual choices equal a loop over tokens, with whole groups left out and rare types dropped."""

import numpy as np
import pytest

from moescope.analysis.statistics.type_residuals import type_residuals, widespread_types

EXPERTS = 3


def tokens(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Choices (N, 2, 2), types, units and the groups of 12 units, two groups of which span two."""
    generator = np.random.default_rng(seed)
    groups = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 3])
    number = 400
    types = generator.geometric(0.25, number) - 1
    experts = generator.integers(0, EXPERTS + 1, (number, 2, 2))  # some slots are empty
    return experts, types, generator.integers(0, len(groups), number), groups


def slow(
    experts: np.ndarray, types: np.ndarray, units: np.ndarray, groups: np.ndarray
) -> np.ndarray:
    own = groups[units]
    kept = np.array([len(set(own[types == x])) >= 5 for x in types])
    experts, types, units, own = experts[kept], types[kept], units[kept], own[kept]
    chosen = np.stack([[(row == e).sum(-1) for e in range(EXPERTS)] for row in experts])
    load = chosen.mean(axis=0)
    result = np.zeros((len(groups), EXPERTS, 2))
    for unit in range(len(groups)):
        for token in np.flatnonzero(units == unit):
            others = (types == types[token]) & (own != groups[unit])
            expected = (chosen[others].sum(axis=0) + load) / (others.sum() + 1)
            result[unit] += chosen[token] - expected
        result[unit] /= max((units == unit).sum(), 1)
    return result.swapaxes(1, 2).reshape(len(groups), -1)


@pytest.mark.parametrize("seed", [0, 1])
def test_residuals_equal_a_loop(seed: int) -> None:
    corpus = tokens(seed)
    np.testing.assert_allclose(type_residuals(*corpus, EXPERTS), slow(*corpus), atol=1e-12)


def test_names_of_types_and_the_order_of_tokens_do_not_matter() -> None:
    experts, types, units, groups = tokens(2)
    found = type_residuals(experts, types, units, groups, EXPERTS)
    order = np.random.default_rng(3).permutation(len(types))
    again = type_residuals(experts[order], 100 - types[order], units[order], groups, EXPERTS)
    np.testing.assert_allclose(again, found, atol=1e-12)


def test_types_of_few_groups_and_units_without_others_are_nothing() -> None:
    types, own = np.array([0] * 6 + [1] * 6), np.array([0, 1, 2, 3, 4, 4, 0, 1, 2, 3, 3, 3])
    assert widespread_types(types, own).tolist() == [True] * 6 + [False] * 6
    units, groups = np.array([0, 1, 2, 3, 4, 4, 0, 1, 2, 3, 3, 5]), np.arange(6)
    found = type_residuals(np.zeros((12, 1, 1), int), types, units, groups, 1)
    assert found[5].tolist() == [0]
