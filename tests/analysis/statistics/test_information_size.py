"""Sizes of information: little bias, and intervals that hold the truth of weak and strong."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.null_corpora import Plan, draw_corpus, expected_shares
from moescope.analysis.statistics.information_size import (
    GroupShares,
    bootstrap_noise,
    group_shares,
    information_interval,
    jackknife_bits,
    scaled_effect,
    share_information,
)
from moescope.analysis.statistics.units import group_units

PLAN = Plan(groups=(10, 10, 10), experts=6, group_noise=0.4)


def shares_of(plan: Plan, seed: int) -> GroupShares:
    corpus = draw_corpus(plan, np.random.default_rng([9, seed]))
    units = group_units(corpus.groups, corpus.topic_ids, corpus.num_topics)
    return group_shares(units.sums(corpus.counts[:, 0]), units.sums(corpus.tokens), units)


def interval(shares: GroupShares, seed: int, draws: int = 100) -> tuple[float, float]:
    weights = np.random.default_rng(seed).poisson(1.0, (draws, shares.units.num_groups))
    return information_interval(shares, scaled_effect(shares, bootstrap_noise(shares, weights)))


def test_the_jackknife_equals_leaving_out_each_group() -> None:
    corpus = draw_corpus(
        replace(PLAN, documents=2, spanning=0.5, length_tail=0.8), np.random.default_rng(0)
    )
    units = group_units(corpus.groups, corpus.topic_ids, 3)
    shares = group_shares(units.sums(corpus.counts[:, 0]), units.sums(corpus.tokens), units)

    def information(kept: np.ndarray) -> float:
        means = [
            shares.weighted[kept & (units.topics == t)].sum(axis=0)
            / shares.weight[kept & (units.topics == t)].sum()
            for t in range(3)
        ]
        return float(share_information(np.array(means)))

    whole = information(np.ones(len(units.topics), dtype=bool))
    bias = 0.0
    for group in range(units.num_groups):
        own = units.groups == group
        factor = np.mean([1 - 1 / units.per_topic[t] for t in units.topics[own]])
        bias += factor * (information(~own) - whole)
    assert jackknife_bits(shares) == pytest.approx(whole - bias)


@pytest.mark.parametrize("effect", [0.0, 0.5])
def test_few_and_many_groups_agree_on_the_size(effect: float) -> None:
    plan = replace(PLAN, effect=effect)
    truth = float(share_information(expected_shares(plan, 30_000)[:, 0]))
    for groups, corpora in ((10, 80), (60, 20)):
        own = replace(plan, groups=(groups,) * 3)
        found = np.array([jackknife_bits(shares_of(own, seed)) for seed in range(corpora)])
        plug_in = np.mean([share_information(shares_of(own, s).means) for s in range(corpora)])
        error = 4 * found.std() / np.sqrt(corpora)
        assert abs(found.mean() - truth) < error + 0.002
        assert groups > 10 or plug_in - truth > 0.005


@pytest.mark.parametrize("effect", [0.0, 0.15, 1.0])
def test_intervals_hold_the_truth(effect: float) -> None:
    plan = replace(PLAN, effect=effect)
    truth = float(share_information(expected_shares(plan, 30_000)[:, 0]))
    ends = np.array([interval(shares_of(plan, seed), seed) for seed in range(40)])
    held = (ends[:, 0] <= truth + 1e-9) & (truth <= ends[:, 1] + 1e-9)
    assert held.mean() >= 0.8  # a true 92% is below once in 100
    assert (ends[:, 0] >= -1e-9).all()


def test_experts_may_be_renumbered_and_a_topic_needs_three_groups() -> None:
    shares = shares_of(replace(PLAN, effect=0.4), 1)
    order = np.random.default_rng(0).permutation(6)
    other = replace(shares, weighted=shares.weighted[:, order], means=shares.means[:, order])
    assert jackknife_bits(other) == pytest.approx(jackknife_bits(shares))
    assert interval(other, 3) == pytest.approx(interval(shares, 3))
    assert np.isnan(interval(shares, 3, draws=0)).all()
    alone = shares_of(replace(PLAN, groups=(1, 5, 5)), 0)
    assert np.isnan(jackknife_bits(alone))
