"""The made-up corpora of the calibration are what their plans say."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.null_corpora import KIND, UNKIND, Plan, draw_corpus, expected_shares, planted
from benchmarks.null_tokens import (
    LANGUAGES,
    PREVIOUS_NULLS,
    TOKEN_NULLS,
    document_counts,
    draw_tokens,
)


@pytest.mark.parametrize("name", [*KIND, *UNKIND])
def test_without_effect_every_topic_has_the_same_expected_shares(name: str) -> None:
    plan = {**KIND, **UNKIND}[name]
    shares = expected_shares(plan, 8_000 * len(plan.groups))
    assert np.ptp(shares, axis=0).max() < 0.012
    assert np.ptp(expected_shares(planted(plan, 1.0), 8_000), axis=0).max() > 0.05


@pytest.mark.parametrize("name", [*KIND, *UNKIND])
def test_a_corpus_adds_up(name: str) -> None:
    plan = {**KIND, **UNKIND}[name]
    corpus = draw_corpus(plan, np.random.default_rng(0))
    np.testing.assert_array_equal(corpus.counts.sum(axis=-1), corpus.tokens[:, None])
    assert len(np.unique(corpus.groups)) == sum(plan.groups)
    assert set(corpus.topic_ids) == set(range(len(plan.groups)))


def test_lengths_differ_by_the_ratio_and_groups_span_topics() -> None:
    corpus = draw_corpus(replace(UNKIND["length x10"], tokens=200.0), np.random.default_rng(1))
    mean = [corpus.tokens[corpus.topic_ids == topic].mean() for topic in (0, 3)]
    assert mean[1] / mean[0] == pytest.approx(10, rel=0.05)
    spanning = draw_corpus(UNKIND["groups span topics"], np.random.default_rng(1))
    topics = [len(set(spanning.topic_ids[spanning.groups == group])) for group in range(96)]
    assert 0.3 < np.mean(np.array(topics) == 2) < 0.7


def test_shares_are_of_the_groups() -> None:
    plan = Plan(documents=5, group_noise=1.0, tokens=400.0)
    corpus = draw_corpus(plan, np.random.default_rng(2))
    shares = (corpus.counts[:, 0] / corpus.tokens[:, None]).reshape(-1, 5, plan.experts)
    assert shares.mean(axis=1).var(axis=0).mean() > 10 * shares.var(axis=1).mean()


def test_tokens_are_as_rare_and_as_foreign_as_their_plan_says() -> None:
    for name, plan in (TOKEN_NULLS | PREVIOUS_NULLS).items():
        corpus = draw_tokens(plan, np.random.default_rng(3))
        seen = np.bincount(corpus.types)
        rare = seen[seen < 5].sum() / seen.sum()
        assert abs(rare - plan.rare) < 0.02, name
        assert document_counts(corpus).sum() == len(corpus.types)
    apart = draw_tokens(LANGUAGES, np.random.default_rng(3))
    topics = apart.topic_ids[apart.documents]
    used = [set(apart.types[topics == topic]) for topic in range(4)]
    assert not used[0] & used[1]
