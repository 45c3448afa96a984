"""Intervals of shares and ratios hold the truth, for rare experts and few groups, too."""

import numpy as np
import pytest

from benchmarks.null_corpora import Plan, draw_corpus, expected_shares
from moescope.analysis.statistics.share_intervals import (
    half_token,
    log2_ratio,
    log2_ratio_error,
    mean_variance,
    quantile,
    share_interval,
)
from moescope.analysis.statistics.welch import group_weights


@pytest.mark.parametrize("groups", [10, 40])
def test_intervals_hold_the_truth(groups: int) -> None:
    plan = Plan(groups=(groups,) * 3, experts=16, load=1.0, effect=0.6, group_noise=0.6)
    truth = expected_shares(plan, 60_000)[:, 0]
    ratio = np.log2(truth / truth.mean(axis=0))
    held = []
    for seed in range(40):
        corpus = draw_corpus(plan, np.random.default_rng([3, seed]))
        weight = group_weights(corpus.tokens)
        own = [corpus.topic_ids == topic for topic in range(3)]
        found = [mean_variance(corpus.counts[x, 0], corpus.tokens[x], weight[x]) for x in own]
        mean, variance = np.stack(found, axis=1)
        half = np.array([[half_token(corpus.tokens[x], weight[x])] for x in own])
        count = np.array([[weight[x].sum() ** 2 / (weight[x] ** 2).sum()] for x in own])
        low, high = share_interval(mean, variance, half, count)
        width = quantile(count) * log2_ratio_error(mean, variance, half)
        distance = np.abs(log2_ratio(mean, half) - ratio)
        held.append([((low <= truth) & (truth <= high)).mean(), (distance <= width).mean()])
        assert (low > 0).all()
        assert (high < 1).all()
    assert (np.abs(np.mean(held, axis=0) - 0.95) < 0.03).all()


def test_mean_and_variance_equal_the_definition() -> None:
    generator = np.random.default_rng(0)
    tokens = generator.integers(5, 50, 12)
    sums = generator.multinomial(tokens, [0.5, 0.3, 0.2])
    mean, variance = mean_variance(sums, tokens, np.ones(12))
    shares = sums / tokens[:, None]
    one = (1 / tokens).sum() / 144  # of one token, as a share
    noise = (mean + one) * (1 - mean) * one
    assert mean == pytest.approx(shares.mean(axis=0))
    assert variance == pytest.approx(np.maximum(shares.var(axis=0, ddof=1) / 12, noise))


def test_below_three_groups_nothing_is_known() -> None:
    assert np.isnan(quantile(np.array([1.0, 2.0]))).all()
    assert quantile(np.array([3.0]))[0] == pytest.approx(4.3027, abs=1e-4)
