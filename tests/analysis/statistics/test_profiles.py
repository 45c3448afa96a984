"""Type profiles equal a least-squares fit, and do not change with what groups do."""

import numpy as np
import pytest

from moescope.analysis.statistics.profiles import (
    BLOCK,
    matched,
    standardised,
    type_orders,
    type_profiles,
)

TYPES, GROUPS, EXPERTS = 12, 5, 4


def tokens(
    generator: np.random.Generator, effects: np.ndarray, number: int = 6000
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Choices of tokens whose shares are those of their type plus those of their group."""
    types, groups = generator.integers(0, TYPES, number), generator.integers(0, GROUPS, number)
    base = np.random.default_rng(1).dirichlet(np.full(EXPERTS, 5.0), TYPES) * 0.6 + 0.1
    shares = base[types] + effects[groups]
    chosen = (np.cumsum(shares, axis=1) < generator.random(number)[:, None]).sum(axis=1)
    return np.minimum(chosen, EXPERTS - 1)[:, None, None], types, groups


def test_the_fit_is_that_of_least_squares() -> None:
    generator = np.random.default_rng(0)
    experts, types, groups = tokens(generator, np.zeros((GROUPS, EXPERTS)))
    found = type_profiles(experts, types, groups, EXPERTS).shares[:, 0]
    design = np.concatenate([np.eye(TYPES)[types], np.eye(GROUPS)[groups]], axis=1)
    fitted = np.linalg.lstsq(design, np.eye(EXPERTS)[experts[:, 0, 0]], rcond=None)[0]
    expected = fitted[:TYPES] + fitted[TYPES:].mean(axis=0)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_what_groups_do_is_taken_out() -> None:
    effects = 0.1 * np.array([[1, -1, 0, 0]] * 2 + [[-1, 0, 1, 0]] * 3)
    plain = tokens(np.random.default_rng(0), np.zeros((GROUPS, EXPERTS)), 60_000)
    moved = tokens(np.random.default_rng(0), effects, 60_000)
    one, other = (type_profiles(*corpus, EXPERTS) for corpus in (plain, moved))
    shift = effects.mean(axis=0)
    np.testing.assert_allclose(other.shares[:, 0], one.shares[:, 0] + shift, atol=0.03)
    assert one.tokens.sum() == 60_000
    assert one.of_one_group.max() < 0.3


def test_types_of_one_group_are_told() -> None:
    types, groups = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 1, 2, 0, 0, 1])
    found = type_profiles(np.zeros((6, 1, 1), int), types, groups, 1)
    assert found.of_one_group == pytest.approx([1 / 3, 1, 1])


def test_orders_keep_types_among_their_like_and_matches_follow_renumbering() -> None:
    generator = np.random.default_rng(2)
    orders = type_orders(generator, 100, 20)
    assert (orders // BLOCK == np.arange(100) // BLOCK).all()
    weights, profiles = np.full(50, 0.02), generator.normal(size=(1, 6, 50))
    renumbered = generator.permutation(6)
    similarity, matches = matched(standardised(profiles, weights), profiles[:, renumbered], weights)
    assert renumbered[matches[0]].tolist() == list(range(6))
    np.testing.assert_allclose(similarity, 1)
