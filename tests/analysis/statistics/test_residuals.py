"""What types leave of a group's choices: equal to a loop, with mean 0, and nothing of words."""

import numpy as np
import pytest

from benchmarks.null_tokens import TokenPlan, draw_tokens
from moescope.analysis.statistics.residuals import (
    FEWEST_GROUPS,
    expected_choices,
    residual_shares,
    type_cells,
    type_overlap,
)
from moescope.analysis.statistics.units import group_units

PLAN = TokenPlan(topics=2, groups=7, documents=2, tokens=12, types=9, experts=3, rare=0.1)


@pytest.mark.parametrize("spanning", [False, True])
def test_expected_choices_equal_a_loop_from_the_definition(spanning: bool) -> None:
    corpus = draw_tokens(PLAN, np.random.default_rng(0))
    topic_ids = np.arange(28) % 2 if spanning else corpus.topic_ids  # groups on both topics
    units = group_units(corpus.groups, topic_ids, 2)
    token_units = units.of_documents[corpus.documents]
    experts = np.column_stack([corpus.experts, (corpus.experts + 1) % 4])  # 3 = not executed
    cells = type_cells(corpus.types, token_units, units)
    observed, expected = expected_choices(cells, experts, 3)
    groups = corpus.groups[corpus.documents]
    tokens = list(zip(groups, token_units, corpus.types, experts.tolist(), strict=True))
    users = {x: len({g for g, _, kind, _ in tokens if kind == x}) for _, _, x, _ in tokens}
    kept = [token for token in tokens if users[token[2]] >= FEWEST_GROUPS]
    assert cells.coverage == pytest.approx(len(kept) / len(tokens))
    assert 0.5 < cells.coverage < 1
    for unit in range(len(units.topics)):
        own = [token for token in kept if token[1] == unit]
        assert cells.tokens[unit] == len(own)
        for expert in range(3):
            exact = 0.0
            for group, _, kind, _ in own:
                others = [chosen for g, _, x, chosen in kept if x == kind and g != group]
                exact += sum(expert in chosen for chosen in others) / len(others)
            assert expected[unit, expert] == pytest.approx(exact)
            assert observed[unit, expert] == sum(expert in chosen for *_, chosen in own)


def test_where_words_alone_route_the_residuals_have_mean_zero() -> None:
    plan = TokenPlan(topics=2, groups=12, vocabulary=1.5, group_noise=0.0, types=30)
    means = []
    for seed in range(60):
        corpus = draw_tokens(plan, np.random.default_rng(seed))
        units = group_units(corpus.groups, corpus.topic_ids, 2)
        cells = type_cells(corpus.types, units.of_documents[corpus.documents], units)
        observed, expected = expected_choices(cells, corpus.experts[:, None], plan.experts)
        residual = (observed - expected)[units.topics == 0].sum(axis=0)
        means.append(residual / cells.tokens[units.topics == 0].sum())
    error = np.std(means, axis=0) / np.sqrt(len(means))
    assert (np.abs(np.mean(means, axis=0)) < 4 * error).all()


def test_overlap_has_its_known_extremes() -> None:
    types = np.array([0, 1, 2, 0, 1, 2])
    assert type_overlap(types, np.array([0, 0, 0, 1, 1, 1]), 2) == pytest.approx(1)
    assert type_overlap(np.arange(6), np.array([0, 0, 0, 1, 1, 1]), 2) == 0


def test_types_that_too_few_groups_use_leave_nothing_to_compare() -> None:
    units = group_units(np.arange(4), np.array([0, 0, 1, 1]), 2)
    cells = type_cells(np.zeros(4, dtype=np.int64), np.arange(4), units)
    assert not cells.comparable
    assert cells.tokens.sum() == 0
    assert expected_choices(cells, np.zeros((4, 1), dtype=np.int64), 2)[1].sum() == 0


def test_residual_shares_equal_a_loop_over_tokens() -> None:
    """Two groups span two labels; some slots are empty; a type of four groups is left out."""
    generator = np.random.default_rng(8)
    groups = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 3])
    units = group_units(groups, np.array([0] * 10 + [1, 1]), 2)
    number, experts = 300, 3
    types, own = generator.geometric(0.3, number) - 1, generator.integers(0, 12, number)
    chosen = generator.integers(0, experts + 1, (number, 2, 2))
    found = residual_shares(chosen, types, own, units, experts)
    kept = [len(set(groups[own[types == x]])) >= 5 for x in types]
    counted = np.stack([(chosen == e).sum(-1) for e in range(experts)], axis=-1)  # (N, L, E)
    expected = np.zeros((12, 2, experts))
    for token in np.flatnonzero(kept):
        others = (types == types[token]) & (groups[own] != groups[own[token]])
        size = (own[kept] == own[token]).sum()
        expected[own[token]] += (counted[token] - counted[others].mean(axis=0)) / size
    np.testing.assert_allclose(found, expected.reshape(12, -1), atol=1e-12)
