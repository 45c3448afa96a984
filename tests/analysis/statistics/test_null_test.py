"""One null test for all: p-values, families, false discoveries."""

import numpy as np
import pytest

from moescope.analysis.statistics.null_test import false_discovery_q, largest_p, null_test
from moescope.analysis.statistics.permutations import family_wise_p, permutation_p


def test_false_discovery_rates_equal_the_definition() -> None:
    p_values = np.array([[0.01, 0.04, np.nan], [0.03, 0.9, 0.041]])
    known = np.sort(p_values[~np.isnan(p_values)])
    q_values = false_discovery_q(p_values)
    for place in np.argwhere(~np.isnan(p_values)):
        p = p_values[tuple(place)]
        ranks = [i for i in range(5) if known[i] >= p]
        exact = min(min(known[i] * 5 / (i + 1) for i in ranks), 1.0)
        assert q_values[tuple(place)] == pytest.approx(exact)
    assert np.isnan(q_values[0, 2])


def test_a_family_is_judged_by_its_largest() -> None:
    generator = np.random.default_rng(0)
    observed, null = generator.normal(size=6), generator.normal(size=(99, 6))
    np.testing.assert_array_equal(
        family_wise_p(observed, null), largest_p(observed, null.max(axis=1))
    )
    test = null_test(observed, null)
    assert (test.family_p_value >= test.p_value).all()
    assert (test.low < test.mean).all()
    assert (test.mean < test.high).all()
    unknown = null_test(observed, null, testable=False)
    assert np.isnan([unknown.p_value, unknown.family_p_value, unknown.q_value]).all()


def test_rounding_is_a_tie() -> None:
    null = np.array([[1.0], [2.0], [2.0 - 1e-7]])
    assert permutation_p(np.array([2.0]), null)[0] == 3 / 4
    assert largest_p(np.array([2.0]), null[:, 0])[0] == 3 / 4
