"""The ridge classifier equals a fit by hand, does not mind names or scales, and keeps 5%."""

import numpy as np
import pytest
from scipy import stats

from benchmarks.null_corpora import UNKIND, Corpus, Plan, draw_corpus, planted
from benchmarks.null_tokens import TOKEN_NULLS, TokenPlan
from moescope.analysis.statistics.classifier import (
    PENALTIES,
    accuracy_interval,
    balanced_accuracy,
    change_interval,
    fold_smoothers,
    group_folds,
    label_margins,
    label_scores,
    read_gain,
    read_labels,
    studentised_mean,
    unit_kernel,
)
from moescope.analysis.statistics.permutations import document_orders, permutation_p

from .residuals import group_residuals


def clouds(generator: np.random.Generator, effect: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """Features (60, 5) of three labels that differ in their means."""
    labels = np.arange(60) % 3
    return generator.normal(size=(60, 5)) + effect * np.eye(5)[labels], labels


def scores_of(features: np.ndarray, folds: np.ndarray, labels: np.ndarray) -> np.ndarray:
    smoothers = fold_smoothers(unit_kernel([features]), folds)
    return next(label_scores(smoothers, labels[None], int(labels.max()) + 1))[0]


def test_scores_equal_ridge_regressions_fitted_by_hand() -> None:
    generator = np.random.default_rng(0)
    features, labels = clouds(generator)
    folds = group_folds(np.arange(60), generator)
    found = scores_of(features, folds, labels)
    scale = np.sqrt(np.mean(((features - features.mean(0)) ** 2).sum(1)))
    for fold in range(5):
        train, test = folds != fold, folds == fold
        x = features[train] / scale
        centre = x.mean(0)
        targets = np.eye(3)[labels[train]] / np.bincount(labels[train])
        targets = targets - targets.mean(0)
        gram = (x - centre) @ (x - centre).T
        best = (np.inf, None)
        for penalty in PENALTIES * np.linalg.eigvalsh(gram).clip(0).mean():
            weights = np.linalg.solve(
                (x - centre).T @ (x - centre) + penalty * np.eye(5), (x - centre).T @ targets
            )
            hat = gram @ np.linalg.inv(gram + penalty * np.eye(len(x)))
            error = ((targets - (x - centre) @ weights) ** 2).sum()
            criterion = error / (len(x) - 1 - np.trace(hat)) ** 2
            if criterion < best[0]:
                best = (criterion, (features[test] / scale - centre) @ weights)
        np.testing.assert_allclose(found[test], best[1], atol=1e-9)


def test_names_scales_rotations_and_the_order_of_observations_do_not_matter() -> None:
    generator = np.random.default_rng(1)
    features, labels = clouds(generator)
    folds = group_folds(np.arange(60), generator)
    found = scores_of(features, folds, labels)
    rotation = np.linalg.qr(generator.normal(size=(5, 5)))[0]
    np.testing.assert_allclose(scores_of(7 * features @ rotation + 3, folds, labels), found)
    order = generator.permutation(60)
    np.testing.assert_allclose(
        scores_of(features[order], folds[order], labels[order]), found[order], atol=1e-12
    )
    renamed = np.array([2, 0, 1])[labels]
    np.testing.assert_allclose(scores_of(features, folds, renamed)[:, [2, 0, 1]], found)


def test_blocks_weigh_alike_whatever_their_size() -> None:
    generator = np.random.default_rng(2)
    few, many = generator.normal(size=(30, 2)), 50 * generator.normal(size=(30, 400))
    together = unit_kernel([few, many])
    assert np.trace(together) / 30 == pytest.approx(1)
    np.testing.assert_allclose(together, (unit_kernel([few]) + unit_kernel([many])) / 2)


def test_groups_stay_together_and_folds_are_even() -> None:
    generator = np.random.default_rng(3)
    groups = np.repeat(np.arange(40), generator.integers(1, 6, 40))
    folds = group_folds(groups, generator)
    assert all(len(set(folds[groups == group])) == 1 for group in range(40))
    sizes = np.bincount(folds)
    assert len(sizes) == 5
    assert sizes.max() - sizes.min() <= 5
    assert len(set(group_folds(np.array([0, 0, 1]), generator))) == 2


def test_margins_and_their_statistic_equal_loops() -> None:
    generator = np.random.default_rng(4)
    scores, labels = generator.normal(size=(1, 30, 3)), generator.integers(0, 3, (1, 30))
    margins = label_margins(scores, labels)
    by_hand = [scores[0, u, t] - np.delete(scores[0, u], t).mean() for u, t in enumerate(labels[0])]
    np.testing.assert_allclose(margins[0], by_hand)
    own = [margins[0, labels[0] == t] for t in range(3)]
    error = np.sqrt(sum(x.var(ddof=1) / len(x) for x in own))
    assert studentised_mean(margins, labels, 3)[0] == pytest.approx(
        sum(x.mean() for x in own) / error
    )
    assert balanced_accuracy(labels == 1, labels, 3)[0] == pytest.approx(1 / 3)


def readout_p(plan: Plan, seed: int, permutations: int = 19) -> float:
    generator = np.random.default_rng([6, seed])
    corpus = draw_corpus(plan, generator)
    features, labels, groups = units(corpus)
    orders = document_orders(generator, len(labels), permutations)
    every = np.concatenate([labels[None], labels[orders]])
    found = read_labels(unit_kernel([features]), group_folds(groups, generator), every)
    return float(permutation_p(np.array(found.statistic), found.null_statistic))


def units(corpus: Corpus) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean expert shares, topic and group of the units of a corpus."""
    keys = corpus.groups * corpus.num_topics + corpus.topic_ids
    _, first, unit = np.unique(keys, return_index=True, return_inverse=True)
    shares = corpus.counts / corpus.counts.sum(-1, keepdims=True)
    sums = np.zeros((len(first), *shares.shape[1:]))
    np.add.at(sums, unit, shares)
    features = (sums / np.bincount(unit)[:, None, None]).reshape(len(first), -1)
    return features, corpus.topic_ids[first], corpus.groups[first]


NULLS = ["length x10, no noise", "five documents a group", "one heterogeneous topic"]


@pytest.mark.parametrize("name", NULLS)
def test_nothing_is_read_where_nothing_is(name: str) -> None:
    rejected = sum(readout_p(UNKIND[name], seed) <= 0.05 for seed in range(25))
    assert rejected <= stats.binom.ppf(0.9999, 25, 0.05)


def test_a_planted_topic_is_read() -> None:
    plan = planted(UNKIND["length x10"], 0.3)
    assert all(readout_p(plan, seed) <= 0.05 for seed in range(5))


def gain_p(plan: TokenPlan, seed: int, permutations: int = 19) -> tuple[float, float]:
    """p, and the gain less the mean of its null."""
    generator = np.random.default_rng([7, seed])
    words, residuals, labels = group_residuals(plan, generator)
    found = read_gain(
        unit_kernel([words]),
        unit_kernel([residuals]),
        group_folds(np.arange(len(labels)), generator),
        labels,
        document_orders(generator, len(labels), permutations),
    )
    change = found.both.astype(float) - found.base
    gain = balanced_accuracy(change[None], labels[None], plan.topics)[0]
    return (
        float(permutation_p(np.array(found.statistic), found.null_statistic)),
        float(gain - found.null_gain.mean()),
    )


@pytest.mark.parametrize("name", ["words alone", "length x10", "bursty words"])
def test_experts_that_follow_words_gain_nothing(name: str) -> None:
    found = np.array([gain_p(TOKEN_NULLS[name], seed) for seed in range(20)])
    assert (found[:, 0] <= 0.05).sum() <= stats.binom.ppf(0.9999, 20, 0.05)
    assert abs(found[:, 1].mean()) < 0.02


def test_context_is_a_gain() -> None:
    plan = TokenPlan(vocabulary=0.3, burstiness=1.0, context=1.0)
    p_values, gains = np.array([gain_p(plan, seed) for seed in range(4)]).T
    assert (p_values <= 0.05).all()
    assert gains.min() > 0.05


def test_intervals_hold_the_truth() -> None:
    generator, labels = np.random.default_rng(8), np.repeat([0, 1, 2], [12, 30, 60])
    rates = np.array([0.9, 0.6, 0.5])[labels]
    held = []
    for _ in range(400):
        right, before = (generator.random(len(labels)) < rates for _ in range(2))
        low, high = accuracy_interval(right, labels)
        down, up = change_interval(right.astype(float) - before, labels)
        held.append((low <= 2 / 3 <= high, down <= 0 <= up))
    assert all(0.91 <= share <= 0.99 for share in np.mean(held, axis=0))
    low, high = accuracy_interval(np.ones(len(labels), bool), labels)
    assert 0.8 < low < high <= 1
    down, up = change_interval(np.zeros(len(labels)), labels)
    assert -0.05 < down < 0 < up < 0.05
