"""Contrasts of topics equal scipy's, their intervals cover, and relabelling is exact."""

import itertools

import numpy as np
import pytest
from scipy import stats

from moescope.analysis.statistics.contrasts import (
    Contrasts,
    own_weights,
    relabelled_p,
    specificity_weights,
    standardised_within,
    topic_contrasts,
    topic_draws,
)


def draw(
    generator: np.random.Generator, sizes: tuple[int, ...], contrasts: int = 3, draws: int = 199
) -> tuple[Contrasts, np.ndarray]:
    """Specificity of as many variables without any, skewed, topics of unlike spread."""
    topic_ids = np.repeat(np.arange(len(sizes)), sizes)
    scale = np.linspace(0.5, 2, len(sizes))[topic_ids, None]
    values = scale * (generator.gamma(4.0, 0.05, (len(topic_ids), contrasts)) - 0.2)
    weights = specificity_weights(np.arange(contrasts) % len(sizes), len(sizes))
    drawn = topic_draws(topic_ids, draws, generator)
    return topic_contrasts(values, topic_ids, weights, drawn), values


def test_statistics_are_those_of_scipy_in_every_draw() -> None:
    generator = np.random.default_rng(0)
    values, topic_ids = generator.normal(0.1, 1, (12, 2)), np.repeat([0, 1], [5, 7])
    rows = np.concatenate([generator.integers(0, 5, (3, 5)), generator.integers(5, 12, (3, 7))], 1)
    drawn = np.stack([np.bincount(row, minlength=12) for row in rows])
    weights = specificity_weights(np.array([0, 0]), 2)
    found = topic_contrasts(values, topic_ids, weights, drawn)
    welch = stats.ttest_ind(values[:5], values[5:], equal_var=False)
    np.testing.assert_allclose(found.statistics, welch.statistic)
    for row, statistic in zip(rows, found.draws, strict=True):
        first, second = values[row[:5]], values[row[5:]] + found.estimates
        again = stats.ttest_ind(first, second, equal_var=False).statistic
        np.testing.assert_allclose(statistic, again)
    single = topic_contrasts(values, topic_ids, own_weights(np.array([1, 1]), 2), drawn)
    np.testing.assert_allclose(single.statistics, stats.ttest_1samp(values[5:], 0).statistic)
    assert found.units.tolist() == [5, 5]
    assert single.units.tolist() == [7, 7]


def test_the_order_of_units_and_the_unit_of_the_values_do_not_matter() -> None:
    generator = np.random.default_rng(1)
    values, topic_ids = generator.normal(size=(30, 3)), np.arange(30) % 3
    drawn, weights = topic_draws(topic_ids, 50, generator), specificity_weights(np.arange(3), 3)
    found = topic_contrasts(values, topic_ids, weights, drawn)
    order = generator.permutation(30)
    again = topic_contrasts(1000 * values[order], topic_ids[order], weights, drawn[:, order])
    np.testing.assert_allclose(again.draws, found.draws)
    np.testing.assert_allclose(again.intervals(), 1000 * np.array(found.intervals()))


def test_draws_keep_the_size_of_every_topic() -> None:
    topic_ids = np.array([0, 0, 1, 1, 1])
    drawn = topic_draws(topic_ids, 20, np.random.default_rng(0))
    assert (drawn[:, :2].sum(axis=1) == 2).all()
    assert (drawn[:, 2:].sum(axis=1) == 3).all()


@pytest.mark.parametrize("sizes", [(4, 4, 4), (12, 12, 12), (12, 30, 60)])
def test_intervals_cover_and_agree_with_the_test(sizes: tuple[int, ...]) -> None:
    held, rejected, rounds = [], 0, 120
    for seed in range(rounds):
        found, _ = draw(np.random.default_rng([2, seed]), sizes)
        low, high = found.intervals()
        held.append((low <= 0) & (high >= 0))
        alone, family = found.p_values()
        if min(sizes) < 10:
            assert np.isnan(alone).all()
            assert np.isnan(family).all()
            continue
        assert ((low > 0) <= (alone <= 0.03)).all()
        assert ((alone <= 0.02) <= (low > 0)).all()
        assert (family >= alone).all()
        rejected += (family <= 0.05).any()
    assert 0.9 <= np.mean(held) <= 0.995
    assert rejected <= stats.binom.ppf(0.9999, rounds, 0.05)


def test_two_units_give_no_interval_and_equal_values_no_statistic() -> None:
    topic_ids = np.array([0, 0, 1, 1, 1])
    drawn = topic_draws(topic_ids, 20, np.random.default_rng(0))
    weights = specificity_weights(np.array([0]), 2)
    found = topic_contrasts(np.ones((5, 1)), topic_ids, weights, drawn)
    assert np.isnan(found.intervals()).all()
    assert found.statistics.tolist() == [0]


def family_p(generator: np.random.Generator, effect: float = 0.0, layers: int = 1) -> np.ndarray:
    """Four chosen experts among 24 a layer whose specificities are heavy-tailed and alike."""
    harm = generator.pareto(2.0, (24 * layers, 4)) * np.array([0.5, 1, 2, 4])
    values, strata = harm - harm.mean(axis=1, keepdims=True), np.repeat(np.arange(layers), 24)
    values[0, 0] += effect
    rows, columns = np.arange(4) * layers, np.arange(4)
    scaled = standardised_within(values, strata)
    return relabelled_p(scaled, strata, rows, columns, 199, generator)


@pytest.mark.parametrize("layers", [1, 3])
def test_chosen_experts_like_their_controls_are_no_finding(layers: int) -> None:
    rounds, smallest = 150, []
    for seed in range(rounds):
        smallest.append(family_p(np.random.default_rng([3, seed]), 0, layers).min())
    assert np.sum(np.array(smallest) <= 0.05) <= stats.binom.ppf(0.9999, rounds, 0.05)


def test_one_expert_that_stands_out_is_found_and_no_other() -> None:
    p_values = family_p(np.random.default_rng(4), effect=500.0)
    assert p_values[0] <= 0.08
    assert p_values[1:].min() > 0.2


def test_relabelling_equals_all_labellings_of_a_small_family() -> None:
    values = np.random.default_rng(5).normal(size=(6, 2))
    rows, columns = np.array([0, 3]), np.array([1, 0])
    every = [values[list(order)][rows, columns] for order in itertools.permutations(range(6))]
    observed = values[rows, columns]
    first, second = np.argsort(-observed)
    exact = np.empty(2)
    exact[first] = np.mean([max(x) >= observed[first] for x in every])
    exact[second] = max(np.mean([x[second] >= observed[second] for x in every]), exact[first])
    generator = np.random.default_rng(6)
    found = relabelled_p(values, np.zeros(6), rows, columns, 20_000, generator)
    np.testing.assert_allclose(found, exact, atol=0.01)


def test_rows_stay_in_their_stratum() -> None:
    strata = np.array([0, 1, 0, 1, 1])
    values = np.where(strata == 1, 100.0, 0.0)[:, None] + np.arange(5)[:, None]
    row = np.array([2])  # the larger of its stratum: 1 of 2
    found = relabelled_p(values, strata, row, np.array([0]), 999, np.random.default_rng(0))
    assert found[0] == pytest.approx(0.5, abs=0.06)
    scaled = standardised_within(values, strata)
    assert scaled[strata == 1].mean() == pytest.approx(0)
