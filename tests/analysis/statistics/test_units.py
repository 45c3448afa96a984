"""Units: what moves together stays together."""

import numpy as np
import pytest

from moescope.analysis.statistics.permutations import topic_sums
from moescope.analysis.statistics.units import group_units, permuted_labels

GROUPS = ["a", "a", "b", "c", "c", "c", "d", "e", "e", "a"]
TOPICS = np.array([0, 0, 1, 0, 1, 2, 2, 0, 1, 0])


def test_units_are_the_documents_of_a_group_in_a_topic() -> None:
    units = group_units(GROUPS, TOPICS, 3)
    assert units.of_documents.tolist() == [0, 0, 1, 2, 3, 4, 5, 6, 7, 0]
    assert units.topics.tolist() == [0, 1, 0, 1, 2, 2, 0, 1]
    assert units.groups.tolist() == [0, 1, 2, 2, 2, 3, 4, 4]
    assert units.per_topic.tolist() == [3, 3, 2]
    assert units.num_groups == 5
    assert not units.suffice
    values = np.arange(20).reshape(10, 2)
    by_loop = [[values[units.of_documents == u, c].sum() for c in range(2)] for u in range(8)]
    np.testing.assert_array_equal(units.sums(values), by_loop)


def test_permutations_swap_what_is_alike_and_keep_the_rest() -> None:
    units = group_units(GROUPS, TOPICS, 3)
    labels = permuted_labels(units, 200, np.random.default_rng(0))
    assert labels[0].tolist() == units.topics.tolist()
    alone = np.array([0, 1, 5])  # groups of one unit
    for row in labels:
        assert sorted(row) == sorted(units.topics)  # a topic keeps its number of groups
        assert sorted(row[alone]) == [0, 1, 2]
        assert sorted(row[2:5]) == [0, 1, 2]  # the only group of three keeps its topics
        assert sorted(row[6:8]) == [0, 1]
    assert len({tuple(row) for row in labels.tolist()}) > 60  # of 3! · 3! · 2!


@pytest.mark.parametrize("size", [1, 2])
def test_every_arrangement_is_equally_likely(size: int) -> None:
    groups = np.repeat(np.arange(3), size)
    topics = np.arange(3 * size) % 3 if size == 1 else np.array([0, 1, 1, 2, 0, 2])
    labels = permuted_labels(group_units(groups, topics, 3), 4_000, np.random.default_rng(1))[1:]
    kinds, counts = np.unique(labels, axis=0, return_counts=True)
    assert len(kinds) == (6 if size == 1 else 6 * 8)
    assert counts.min() > 0.6 * counts.mean()


def test_sums_by_topic_equal_a_loop_and_do_not_overflow() -> None:
    values = np.full((5, 2, 3), 2**30, np.int32)
    values[0] = np.arange(6).reshape(2, 3)
    topics = np.array([3, 0, 3, 0, 3])  # topics 1 and 2 are empty
    sums = topic_sums(values, topics, 5)
    assert sums.dtype == np.int64
    for topic in range(5):
        exact = sum(int(v[1, 2]) for v, t in zip(values, topics, strict=True) if t == topic)
        assert sums[topic, 1, 2] == exact
    assert topic_sums(values[:0], topics[:0], 2).tolist() == np.zeros((2, 2, 3)).tolist()
