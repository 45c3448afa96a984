"""The smallest detectable effect: what the test finds in four of five corpora."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.calibration_power import printed_bits, with_effect_of
from benchmarks.calibration_tests import document_p
from benchmarks.null_corpora import UNKIND, Plan, draw_corpus
from moescope.analysis.statistics.detectable import detectable_bits
from moescope.analysis.statistics.label_test import LabelTest, label_test
from moescope.analysis.statistics.units import group_units, permuted_labels
from moescope.analysis.statistics.welch import share_moments


def layer_of(plan: Plan, seed: int = 0, times: int = 1) -> LabelTest:
    """The test of a corpus; `times` as many experts for each token."""
    generator = np.random.default_rng(seed)
    corpus = draw_corpus(plan, generator)
    units = group_units(corpus.groups, corpus.topic_ids, corpus.num_topics)
    sums, tokens = times * units.sums(corpus.counts[:, 0]), units.sums(corpus.tokens)
    labels = permuted_labels(units, 99, np.random.default_rng(1))
    return label_test(share_moments(sums, tokens), labels, corpus.num_topics)


def critical(test: LabelTest) -> float:
    return float(np.quantile(test.statistic[1:], 0.95))


def test_the_effect_that_is_printed_is_found_in_about_four_of_five() -> None:
    """A normal approximation along what the corpus looked like had 96 to 100% here."""
    plan = UNKIND["tiny topics"]
    bits = printed_bits(plan)
    plans = [with_effect_of(replace(plan, effect_seed=seed), bits) for seed in range(4)]
    found = [
        document_p(own)(np.random.default_rng([3, corpus]))["E3"] <= 0.05
        for own in plans
        for corpus in range(40)
    ]
    assert 0.66 < np.mean(found) < 0.92  # of 160


def test_more_groups_find_less_and_a_test_that_always_rejects_finds_all() -> None:
    few, many = layer_of(Plan(groups=(12,) * 3)), layer_of(Plan(groups=(120,) * 3))
    assert 3 < detectable_bits(few, critical(few)) / detectable_bits(many, critical(many)) < 30
    assert detectable_bits(few, -1.0) == pytest.approx(0, abs=1e-12)
    assert detectable_bits(few, critical(few), 0.5) < detectable_bits(few, critical(few))


def test_the_experts_of_a_token_may_be_several() -> None:
    one, three = layer_of(Plan()), layer_of(Plan(), times=3)
    own = detectable_bits(one, critical(one))
    assert detectable_bits(three, critical(three)) == pytest.approx(own, rel=0.2)


def test_without_permutations_nothing_is_said() -> None:
    test = layer_of(Plan())
    alone = replace(test, permuted_share=test.permuted_share[:0])
    assert np.isnan(detectable_bits(alone, 1.0))
