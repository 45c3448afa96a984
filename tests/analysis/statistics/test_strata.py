"""Permutations keep to their strata, and explained entropy is that of a table of counts."""

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from moescope.analysis.statistics.strata import (
    explained_entropy,
    movable_share,
    position_entropy,
    quantile_strata,
    stratified_labels,
)


def test_labels_stay_in_their_stratum() -> None:
    generator = np.random.default_rng(0)
    labels, strata = generator.integers(0, 3, 40), generator.integers(0, 4, 40)
    every = stratified_labels(labels, strata, 30, generator)
    assert (every[0] == labels).all()
    assert len(np.unique(every, axis=0)) > 20
    for stratum in range(4):
        own = every[:, strata == stratum]
        assert (np.sort(own, axis=1) == np.sort(labels[strata == stratum])).all()


def test_strata_are_even_and_keep_equal_values_together() -> None:
    values = np.random.default_rng(1).permutation(100)
    assert np.bincount(quantile_strata(values, 5)).tolist() == [20] * 5
    assert len(set(quantile_strata(np.repeat([1, 2], 30), 5))) == 2
    assert quantile_strata(np.ones(9), 5).tolist() == [0] * 9


def test_what_cannot_move_is_told() -> None:
    labels = np.array([0, 0, 1, 1])
    assert movable_share(labels, np.array([0, 0, 1, 1])) == 0
    assert movable_share(labels, np.array([0, 0, 0, 1])) == 0.75


def test_explained_entropy_is_mutual_information() -> None:
    generator = np.random.default_rng(2)
    labels = np.repeat([0, 1, 2], [5, 10, 25])
    shares = generator.dirichlet(np.ones(4), 40)
    found, total = explained_entropy(shares, labels[None], 4)
    table = np.stack([shares[labels == label].sum(axis=0) for label in range(3)])
    nats = mutual_info_score(None, None, contingency=np.rint(1e6 * table).astype(np.int64))
    assert found[0, 0] == pytest.approx(nats / np.log(2), rel=1e-4)
    p = shares.mean(axis=0)
    assert total[0] == pytest.approx(-(p * np.log2(p)).sum())


def test_position_is_found_where_it_is_and_units_do_not_pass_for_it() -> None:
    generator = np.random.default_rng(3)
    own = generator.dirichlet(np.ones(4), 30)[:, None]  # each unit has a routing of its own
    early = np.eye(4)[0] * np.array([0.5, 0, 0])[:, None]
    for effect in (0.0, 1.0):
        shares = own + effect * early
        shares = shares / shares.sum(-1, keepdims=True)
        counts = generator.multinomial(60, shares)[:, :, None]  # (U, B, L, E)
        counts[20:, 2] = 0  # short texts
        observed, *null = position_entropy(counts, generator, 39)[:, 0]
        assert (observed > max(null)) == (effect > 0)
    table = counts.sum(axis=0)[:, 0]
    nats = mutual_info_score(None, None, contingency=table)
    assert observed == pytest.approx(nats / np.log(2))
