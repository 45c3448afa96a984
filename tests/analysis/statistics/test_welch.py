"""Welch statistics: equal to loops from their definitions, blind to what must not matter."""

import numpy as np
import pytest

from benchmarks.null_corpora import UNKIND, draw_corpus
from moescope.analysis.statistics.label_test import label_test
from moescope.analysis.statistics.units import group_units, permuted_labels
from moescope.analysis.statistics.welch import (
    cell_statistics,
    group_weights,
    share_moments,
    topic_shares,
    welch_statistic,
)


def drawn(name: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Choices (U, E), tokens and topics of the units of an unkind corpus."""
    corpus = draw_corpus(UNKIND[name], np.random.default_rng(seed))
    units = group_units(corpus.groups, corpus.topic_ids, corpus.num_topics)
    return units.sums(corpus.counts[:, 0]), units.sums(corpus.tokens), units.topics, 4


def by_loop(
    sums: np.ndarray, tokens: np.ndarray, topics: np.ndarray, number: int
) -> tuple[float, np.ndarray]:
    """The statistic of the layer and those of its cells, for units that all weigh 1."""
    shares = sums / tokens[:, None]
    experts, pooled = sums.shape[1], shares.mean(axis=0)
    mean, variance, third = np.zeros((3, number, experts))
    for t in range(number):
        own, n = shares[topics == t] - pooled, int((topics == t).sum())
        mean[t] = own.mean(axis=0)
        variance[t] = own.var(axis=0, ddof=1) / n
        noise = pooled * (1 - pooled) * (1 / tokens[topics == t]).sum() / n**2
        variance[t] = np.maximum(variance[t], noise)
        third[t] = ((own - mean[t]) ** 3).sum(axis=0) / n**3
    spread = ((shares - pooled) ** 2).mean(axis=0)
    profile = spread / (spread / pooled).sum()
    total = (variance / pooled).sum(axis=1)
    variance = 0.6 * variance + 0.4 * total[:, None] * profile
    precision = 1 / total
    centre = precision @ mean / precision.sum()
    layer = sum(precision[t] * ((mean[t] - centre) ** 2 / pooled).sum() for t in range(number))
    cells = np.zeros((number, experts))
    for t in range(number):
        rest = [s for s in range(number) if s != t]
        error = (1 - 1 / number) ** 2 * variance[t] + variance[rest].sum(axis=0) / number**2
        cubes = (1 - 1 / number) ** 3 * third[t] - third[rest].sum(axis=0) / number**3
        score = (mean[t] - mean.mean(axis=0)) / np.sqrt(error)
        skew = cubes / error**1.5
        cells[t] = score + skew * (2 * score**2 + 1) / 6 + 4 * skew**2 * score**3 / 27
    return layer, cells


@pytest.mark.parametrize("name", ["length x10", "zero-inflated experts"])
def test_statistics_equal_loops_from_their_definitions(name: str) -> None:
    sums, tokens, topics, number = drawn(name, 0)
    tokens = np.full_like(tokens, 70)  # every unit weighs 1
    moments = share_moments(sums, tokens)
    added = np.stack([moments.columns[topics == t].sum(axis=0) for t in range(number)])
    shares = topic_shares(moments, added)
    layer, cells = by_loop(sums, tokens, topics, number)
    assert welch_statistic(shares, moments.pooled) == pytest.approx(layer)
    np.testing.assert_allclose(cell_statistics(shares), cells, rtol=1e-9)


def test_weights_stop_at_the_median_unit() -> None:
    assert group_weights(np.array([10, 20, 40, 400, 0])).tolist() == [1 / 3, 2 / 3, 1, 1, 0]


def test_long_units_count_no_more_than_longer_ones() -> None:
    sums, tokens, topics, number = drawn("heavy-tailed lengths", 1)
    sums, tokens, topics = sums[1:], tokens[1:], topics[1:]  # an odd number has a median unit
    labels = topics[None].astype(np.int32)
    longer = np.where(tokens > np.median(tokens), 7, 1)
    moments = [share_moments(sums * f[:, None], tokens * f) for f in (1 + 0 * longer, longer)]
    weights = [moment.columns[:, -4] for moment in moments]
    np.testing.assert_array_equal(*weights)
    np.testing.assert_allclose(moments[0].columns[:, :8], moments[1].columns[:, :8])
    assert label_test(moments[0], labels, number).statistic > 0


def test_nothing_depends_on_the_order_of_units_or_the_numbers_of_experts() -> None:
    sums, tokens, topics, number = drawn("length x4", 2)
    units = group_units(np.arange(len(topics)), topics, number)
    labels = permuted_labels(units, 30, np.random.default_rng(3))
    own = label_test(share_moments(sums, tokens), labels, number)
    order, renamed = np.random.default_rng(4).permutation(len(topics)), np.arange(8)[::-1]
    other = label_test(
        share_moments(sums[order][:, renamed], tokens[order]), labels[:, order], number
    )
    np.testing.assert_allclose(own.statistic, other.statistic)
    np.testing.assert_allclose(own.information, other.information)
    np.testing.assert_allclose(own.cells, other.cells[:, renamed])
    np.testing.assert_array_equal(own.exceeding, other.exceeding[:, renamed])


def test_relabelling_topics_is_a_tie_and_counts_as_one() -> None:
    """Two topics swapped give the same statistic: p is never below what arrangements allow."""
    sums, tokens, topics, _ = drawn("length x4", 5)
    labels = np.stack([topics, topics[::-1], 3 - topics, topics]).astype(np.int32)
    for precision in (np.float64, np.float32):
        moments = share_moments(sums.astype(precision), tokens)
        test = label_test(moments, labels, 4)
        assert test.exceeding.min() >= 1  # the fourth row is the corpus itself
        np.testing.assert_allclose(test.statistic[[2, 3]], test.statistic[0])


@pytest.mark.parametrize(
    "name", ["one topic of five times the spread", "64 experts, one heterogeneous topic"]
)
def test_a_topic_of_uneven_groups_is_not_taken_for_one_that_differs(name: str) -> None:
    """With variances bounded from below by the others' profile: layers 13%, cells 10%."""
    found = []
    for seed in range(400):
        sums, tokens, topics, number = drawn(name, seed)
        units = group_units(np.arange(len(topics)), topics, number)
        labels = permuted_labels(units, 39, np.random.default_rng(seed))
        test = label_test(share_moments(sums, tokens), labels, number)
        layer = (test.statistic[1:] >= test.statistic[0]).sum()
        cells = (test.largest >= np.abs(test.cells).max()).sum()
        found.append([layer <= 1, cells <= 1])
    assert np.mean(found, axis=0) == pytest.approx(0.065, abs=0.035)
