"""E4 sees context, and is blind to topics that differ in their words alone."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from moescope.analysis.chapters.context.measures import _pairs, beyond_vocabulary
from moescope.analysis.chapters.context.token_mix import (
    mix_choices,
    other_topics_expectation,
    type_table,
)
from moescope.analysis.statistics.information import information_bits
from moescope.analysis.statistics.permutations import (
    document_orders,
    permuted_topics,
    topic_sums,
)

from .samples import PlantedTokens, document_choices, planted_sample


def analyse(plan: PlantedTokens, seed: int, permutations: int = 99) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    sample = planted_sample(plan, generator)
    return beyond_vocabulary(sample, None, permutations, generator)


def e3_p_value(plan: PlantedTokens, seed: int, permutations: int = 99) -> float:
    generator = np.random.default_rng(seed)
    sample = planted_sample(plan, generator)
    counts = document_choices(sample)
    orders = document_orders(generator, len(sample.rows), permutations)
    observed = information_bits(topic_sums(counts, sample.topic_ids, plan.topics))[0]
    null = [
        information_bits(topic_sums(counts, topics, plan.topics))[0]
        for topics in permuted_topics(orders, sample.topic_ids)
    ]
    return float((np.sum(np.array(null) >= observed) + 1) / (permutations + 1))


@pytest.mark.parametrize("top_k", [1, 2])
def test_the_token_mix_equals_loops_from_the_definition(top_k: int) -> None:
    plan = PlantedTokens(documents_per_topic=3, tokens=12, types=6, experts=4, top_k=top_k)
    sample = planted_sample(plan, np.random.default_rng(0))
    sample.experts[::7, 0, -1] = 4  # some slots were not executed
    tokens = list(zip(sample.documents, sample.types, sample.experts[:, 0].tolist(), strict=True))
    types = type_table(sample)
    observed, pooled = mix_choices(sample, types)
    others = other_topics_expectation(sample, types, observed, sample.topic_ids)

    def share(left_out: set[int], expert: int) -> float:
        rest = [chosen for d, _, chosen in tokens if d not in left_out]
        return sum(expert in chosen for chosen in rest) / len(rest)

    def expected(own: set[int], left_out: set[int], expert: int, prior: float) -> float:
        total = 0.0
        for document, kind, _ in tokens:
            if document not in own:
                continue
            rest = [chosen for d, x, chosen in tokens if x == kind and d not in left_out]
            hits = sum(expert in chosen for chosen in rest)
            total += (hits + prior * share(left_out, expert)) / (len(rest) + prior)
        return total

    for expert in range(4):
        for document in range(len(sample.rows)):
            exact = expected({document}, set(), expert, 0.0)
            assert pooled[document, expert] == pytest.approx(exact)
        for topic in range(plan.topics):
            own = set(np.flatnonzero(sample.topic_ids == topic).tolist())
            size = sum(d in own for d, *_ in tokens)
            shift = expected(own, own, expert, 1.0) / size - share(own, expert)
            moved = share(set(), expert) + (1 - size / len(tokens)) * shift
            assert others[topic, expert] == pytest.approx(size * max(moved, 0))
    counted = np.zeros((len(sample.rows), 5))
    for document, _, chosen in tokens:
        for choice in chosen:
            counted[document, choice] += 1
    np.testing.assert_array_equal(observed, counted[:, :4])


def test_blind_to_words_awake_to_context() -> None:
    words = PlantedTokens(vocabulary=1.0)
    context = PlantedTokens(context=1.0)
    p_words = [analyse(words, seed).p_value[0] for seed in range(20)]
    assert np.mean([e3_p_value(words, seed) for seed in range(20)]) < 0.05
    assert np.sum(np.array(p_words) <= 0.05) <= stats.binom.ppf(0.999, 20, 0.05)
    assert max(analyse(context, seed).p_value[0] for seed in range(5)) <= 0.02
    both = analyse(PlantedTokens(vocabulary=1.0, context=1.0), 0)
    assert both.p_value[0] <= 0.02


def test_the_bracket_tells_words_from_context() -> None:
    words = analyse(PlantedTokens(vocabulary=1.0, tokens=150), 1)
    assert 0.8 < words.lower_share[0] < 1.3
    assert 0.8 < words.upper_share[0] < 1.3
    context = analyse(PlantedTokens(context=1.0, tokens=150), 1)
    assert abs(context.lower_share[0]) < 0.1
    assert abs(context.upper_share[0]) < 0.2


def test_shuffled_topics_are_not_rejected_too_often() -> None:
    plan = PlantedTokens(document_noise=0.8, documents_per_topic=12, tokens=30)
    p_values = np.array([analyse(plan, 50 + seed, 39).p_value[0] for seed in range(60)])
    assert (p_values <= 0.05).sum() <= stats.binom.ppf(0.9999, 60, 0.05)


def test_groups_with_a_context_of_their_own_do_not_pass_for_topics() -> None:
    """Five documents of a group go to one expert more; topics have no effect."""
    by_document, by_group = [], []
    for seed in range(30):
        generator = np.random.default_rng(seed)
        plan = PlantedTokens(topics=24, documents_per_topic=5, context=1.0)
        sample = planted_sample(plan, generator)
        numbers = sample.topic_ids  # what the sample calls topics are groups here
        topics = generator.permutation(np.arange(24) % 2)[numbers]
        relabelled = replace(sample, topic_ids=topics, topics=("a", "b"))
        for groups, found in ((None, by_document), (numbers.astype(str).tolist(), by_group)):
            frame = beyond_vocabulary(relabelled, groups, 39, generator)
            found.append(frame.family_p_value[0])
    assert np.mean(np.array(by_document) <= 0.05) > 0.5
    assert np.sum(np.array(by_group) <= 0.05) <= stats.binom.ppf(0.999, 30, 0.05)


def test_topics_without_common_words_cannot_be_told_apart_by_context() -> None:
    generator = np.random.default_rng(0)
    sample = planted_sample(PlantedTokens(context=2.0), generator)
    own = sample.types * 4 + sample.topic_ids[sample.documents]
    token_ids, types = np.unique(own, return_inverse=True)
    frame = beyond_vocabulary(
        replace(sample, types=types, token_ids=token_ids), None, 39, generator
    )
    assert not frame.comparable.any()
    assert frame.overlap.eq(0).all()
    assert frame.family_p_value.isna().all()


def test_a_previous_token_is_the_one_right_before_in_the_same_document() -> None:
    sample = planted_sample(
        PlantedTokens(topics=2, documents_per_topic=2, tokens=9, types=3), np.random.default_rng(1)
    )
    positions = sample.positions.copy()
    positions[5:9] += 1  # a masked position between
    numbers = _pairs(replace(sample, positions=positions))
    keys = {}
    for row, number in enumerate(numbers):
        apart = row % 9 == 0 or row == 5
        key = (None if apart else sample.types[row - 1], sample.types[row])
        assert keys.setdefault(key, number) == number
    assert len(set(keys.values())) == len(keys)


def test_few_documents_get_no_p_value() -> None:
    assert np.isnan(analyse(PlantedTokens(documents_per_topic=9), 0).p_value).all()
