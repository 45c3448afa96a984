"""Every labelling is listed once, p is exact, and the smallest p is what a perfect split gets."""

import itertools

import numpy as np
import pytest
from scipy import stats

from moescope.analysis.statistics.labellings import labellings, number_of_labellings, smallest_p


@pytest.mark.parametrize("labels", [[0, 0, 1, 1], [0, 0, 0, 1, 2, 2], [0, 1, 2], [0]])
def test_labellings_are_those_of_itertools(labels: list[int]) -> None:
    found = labellings(np.array(labels), 9, np.random.default_rng(0))
    assert found.is_complete
    assert found.labels[0].tolist() == labels
    assert {tuple(row) for row in found.labels} == set(itertools.permutations(labels))
    assert len(found.labels) == number_of_labellings(np.array(labels))


def test_p_values_equal_scipys_exact_test() -> None:
    values, labels = np.array([1.2, 3.1, 2.7, 5.0, 4.4, 6.1]), np.array([0, 0, 0, 1, 1, 1])
    found = labellings(labels, 9, np.random.default_rng(0))
    sums = (found.labels == 1) @ values
    exact = stats.permutation_test(
        (values[labels == 1], values[labels == 0]),
        lambda x, y: x.sum() - y.sum(),
        alternative="greater",
        n_resamples=np.inf,
    )
    assert found.p_values(sums) == pytest.approx(exact.pvalue)


@pytest.mark.parametrize(
    ("labels", "p"),
    [([0, 0, 1, 1], 1 / 3), ([0, 0, 0, 1], 1 / 4), ([0, 0, 1, 1, 2, 2], 1 / 15), ([0, 1], 1.0)],
)
def test_smallest_p_is_that_of_a_perfect_split(labels: list[int], p: float) -> None:
    numbers = np.array(labels)
    assert smallest_p(numbers, 999) == pytest.approx(p)
    found = labellings(numbers, 999, np.random.default_rng(0))
    values = 10.0**numbers
    member = np.eye(numbers.max() + 1)[found.labels]  # (P, R, G)
    means = np.einsum("prg,r->pg", member, values) / np.bincount(numbers)
    between = (np.bincount(numbers) * (means - values.mean()) ** 2).sum(axis=1)
    assert found.p_values(between) == pytest.approx(p)


def test_too_many_labellings_are_drawn() -> None:
    labels = np.repeat(np.arange(5), 3)
    found = labellings(labels, 99, np.random.default_rng(0))
    assert not found.is_complete
    assert found.labels.shape == (100, 15)
    assert (np.sort(found.labels, axis=1) == labels).all()
    assert smallest_p(labels, 99) == 0.01
