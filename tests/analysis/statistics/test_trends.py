"""Trends equal scipy's, and keep 5% where the spread of the values goes with time."""

import numpy as np
from scipy import stats

from moescope.analysis.statistics.permutations import permutation_p
from moescope.analysis.statistics.trends import capped_weights, weighted_trends


def test_correlations_and_slopes_equal_scipys() -> None:
    generator = np.random.default_rng(0)
    times, values = generator.normal(size=30), generator.normal(size=(30, 3))
    found = weighted_trends(times[None], values, np.ones(30))
    for column in range(3):
        fit = stats.linregress(times, values[:, column])
        assert np.isclose(found.correlations[0, column], fit.rvalue)
        assert np.isclose(found.slopes[0, column], fit.slope)
    doubled = np.concatenate([times, times[:5]]), np.concatenate([values, values[:5]])
    weights = np.where(np.arange(30) < 5, 2.0, 1.0)
    repeated = weighted_trends(doubled[0][None], doubled[1], np.ones(35)).correlations
    np.testing.assert_allclose(weighted_trends(times[None], values, weights).correlations, repeated)


def test_the_statistic_equals_a_loop_and_does_not_mind_units() -> None:
    generator = np.random.default_rng(1)
    times, values = generator.normal(size=(2, 12)), generator.normal(size=(12, 2))
    weights = generator.uniform(0.2, 1, 12)
    found = weighted_trends(times, values, weights).statistics
    share = weights / weights.sum()
    for row in range(2):
        for column in range(2):
            x = times[row] - share @ times[row]
            y = values[:, column] - share @ values[:, column]
            products = share * x * y
            assert np.isclose(found[row, column], products.sum() / np.sqrt((products**2).sum()))
    again = weighted_trends(12 * times + 1900, 100 * values, 5 * weights).statistics
    np.testing.assert_allclose(again, found)


def test_spread_that_goes_with_time_is_no_trend() -> None:
    rejected, rounds = 0, 150
    for seed in range(rounds):
        generator = np.random.default_rng([2, seed])
        times = np.concatenate([np.zeros(40), np.linspace(1, 10, 8)])  # the last are few and noisy
        values = generator.normal(size=(48, 1)) * (1 + times)[:, None]
        every = np.stack([times, *(generator.permutation(times) for _ in range(39))])
        size = np.abs(weighted_trends(every, values, np.ones(48)).statistics)
        rejected += permutation_p(size[0], size[1:])[0] <= 0.05
    assert rejected <= stats.binom.ppf(0.9999, rounds, 0.05)


def test_long_observations_weigh_as_the_median_does() -> None:
    assert capped_weights(np.array([5, 10, 1000])).tolist() == [0.5, 1, 1]
    assert weighted_trends(np.zeros((1, 5)), np.ones((5, 1)), np.ones(5)).statistics[0, 0] == 0
