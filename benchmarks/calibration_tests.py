"""The tests whose level and power calibration.py measures: from a plan to p-values."""

from collections.abc import Callable
from datetime import date

import numpy as np
import pandas as pd

from benchmarks.null_corpora import Corpus, Plan, draw_corpus
from benchmarks.null_tokens import TokenCorpus, TokenPlan, document_counts, draw_tokens
from moescope.analysis.chapters.context.measures import beyond_vocabulary
from moescope.analysis.chapters.knockout.measures import KnockoutLosses, knockout_effects
from moescope.analysis.chapters.time.measures import analyse_time
from moescope.analysis.chapters.topic_classifier.measures import classifier_input, topic_classifier
from moescope.analysis.chapters.topics.cells import topic_expert_cells
from moescope.analysis.chapters.topics.information import topic_information, topic_tests
from moescope.analysis.data.documents import DocumentCounts
from moescope.analysis.data.sample import TokenSample
from moescope.analysis.statistics.permutations import permutation_p, topic_sums
from moescope.analysis.statistics.profiles import (
    BLOCK,
    MOST_OF_ONE_GROUP,
    matched,
    standardised,
    type_orders,
    type_profiles,
)
from moescope.analysis.statistics.units import permuted_labels

PERMUTATIONS = 99
PValues = Callable[[np.random.Generator], dict[str, float]]


def documents_of(corpus: Corpus) -> DocumentCounts:
    """The corpus as a report sees it."""
    return DocumentCounts(
        ids=[f"d{row:05d}" for row in range(len(corpus.tokens))],
        topic_ids=corpus.topic_ids,
        topics=tuple(f"topic {topic}" for topic in range(corpus.num_topics)),
        layers=tuple(range(corpus.counts.shape[1])),
        top_k=1,
        counts=corpus.counts,
        tokens=corpus.tokens,
        masked_counts=np.zeros_like(corpus.counts),
        masked_tokens=np.zeros_like(corpus.tokens),
        groups=[f"g{group}" for group in corpus.groups],
    )


def sample_of(corpus: TokenCorpus) -> TokenSample:
    """The tokens as a report sees them."""
    return TokenSample(
        rows=np.arange(len(corpus.topic_ids)),
        topic_ids=corpus.topic_ids,
        topics=tuple(f"topic {topic}" for topic in range(corpus.num_topics)),
        layers=(0,),
        num_experts=corpus.num_experts,
        documents=corpus.documents,
        positions=corpus.positions,
        types=corpus.types,
        token_ids=np.arange(int(corpus.types.max()) + 1),
        experts=corpus.experts[:, None, None],
    )


def document_p(plan: Plan) -> PValues:
    """E3 and cells."""

    def p_values(generator: np.random.Generator) -> dict[str, float]:
        data = documents_of(draw_corpus(plan, generator))
        tests = topic_tests(data, PERMUTATIONS, generator)
        information = topic_information(data, tests, np.zeros((0, len(data.ids)), np.float32))
        cells = topic_expert_cells(data, tests).p_value.min()
        return {"E3": float(information.family_p_value.iloc[0]), "cells": float(cells)}

    return p_values


def chi_square_p(plan: Plan) -> PValues:
    """The same, and the χ² statistic of the table of choices with documents permuted."""

    def p_values(generator: np.random.Generator) -> dict[str, float]:
        own = document_p(plan)(np.random.default_rng(generator.integers(2**32)))
        data = documents_of(draw_corpus(plan, generator))
        counts, topics = data.counts[:, 0].astype(np.int64), len(data.topics)
        found = []
        for labels in permuted_labels(data.units, PERMUTATIONS, generator):
            table = topic_sums(counts, labels, topics)
            expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
            found.append(((table - expected) ** 2 / np.maximum(expected, 1e-9)).sum())
        return {**own, "χ²": float(permutation_p(np.array(found[0]), np.array(found[1:])))}

    return p_values


def token_p(plan: TokenPlan, pairs_only: bool = False) -> PValues:
    """E4, with the token and with the pair of previous and current token held fixed."""

    def p_values(generator: np.random.Generator) -> dict[str, float]:
        corpus = draw_tokens(plan, generator)
        groups = [f"g{group}" for group in corpus.groups]
        frame = beyond_vocabulary(sample_of(corpus), groups, PERMUTATIONS, generator).iloc[0]
        pairs = {"E4, previous token fixed": float(frame.pair_family_p_value)}
        return pairs if pairs_only else {"E4": float(frame.family_p_value), **pairs}

    return p_values


def classifier_p(plan: TokenPlan) -> PValues:
    """E6: what experts tell, and what they add to words."""

    def p_values(generator: np.random.Generator) -> dict[str, float]:
        corpus = draw_tokens(plan, generator)
        groups = [f"g{group}" for group in corpus.groups]
        counts = document_counts(corpus)
        read = classifier_input(counts, corpus.topic_ids, groups, sample_of(corpus), generator)
        frame = topic_classifier(read, PERMUTATIONS, generator).set_index("reader")
        return {"E6": float(frame.p_value["experts"]), "E6 gain": float(frame.p_value["both"])}

    return p_values


def gain_p(plan: TokenPlan) -> PValues:
    """E6, of which the experts' own p would find the topics' words."""

    def p_values(generator: np.random.Generator) -> dict[str, float]:
        return {"E6 gain": classifier_p(plan)(generator)["E6 gain"]}

    return p_values


def knockout_p(effect: float, skew: float = 1.0) -> PValues:
    """E13: smallest family-wise p of nine pairs; losses are skewed, as losses are."""

    def p_values(generator: np.random.Generator) -> dict[str, float]:
        topic_ids = np.repeat(np.arange(9), 20)
        scale = generator.uniform(0.5, 2.0, 9)[topic_ids]  # topics differ in how much losses vary
        changes = skew * scale * (generator.gamma(4.0, 0.05, (39, 180)) - 0.2)
        changes[0, topic_ids == 0] += effect
        experts = [(0, expert) for expert in range(39)]
        names = tuple(map(str, range(9)))
        losses = KnockoutLosses(experts, changes, topic_ids, names, np.full(9, 20))
        chosen = pd.DataFrame({"layer": 0, "expert": range(9), "topic_id": range(9)})
        frame = knockout_effects(losses, chosen, PERMUTATIONS, generator)
        return {
            "E13 effect": float(frame.p_value.min()),
            "E13 specificity": float(frame.specificity_p_value.min()),
            "E13 against controls": float(frame.control_p_value.min()),
        }

    return p_values


def document_classifier_p(plan: Plan) -> PValues:
    """E6 on documents whose words are not known."""

    def p_values(generator: np.random.Generator) -> dict[str, float]:
        data = documents_of(draw_corpus(plan, generator))
        read = classifier_input(data.counts, data.topic_ids, data.group_names, None, generator)
        return {"E6": float(topic_classifier(read, PERMUTATIONS, generator).p_value.iloc[0])}

    return p_values


def knockout_family_p(
    groups: int, documents: int = 1, *, tail: float = 3.0, effect: float = 0.0
) -> PValues:
    """E13: chosen experts like their 20 controls, each of which costs each topic something.

    A pair is a finding where it is specific and more so than controls: the larger of its two p.

    Args:
        groups: of each of four topics.
        documents: of each group, which have most of their losses in common.
        tail: index of the Pareto law of what experts cost.
        effect: what the first topic loses beyond that with its chosen expert.
    """

    def p_values(generator: np.random.Generator) -> dict[str, float]:
        topic_ids = np.repeat(np.arange(4), groups)
        cost = generator.pareto(tail, (24, 4)) * np.array([0.02, 0.05, 0.1, 0.2])
        cost[0, 0] += effect
        common = 0.1 * generator.normal(size=(24, 4 * groups))
        noise = 0.05 * generator.normal(size=(24, 4 * groups, documents)).mean(axis=2)
        changes = cost[:, topic_ids] + common + noise
        experts = [(0, expert) for expert in range(24)]
        losses = KnockoutLosses(experts, changes, topic_ids, tuple("abcd"), np.full(4, groups))
        chosen = pd.DataFrame({"layer": 0, "expert": range(4), "topic_id": range(4)})
        frame = knockout_effects(losses, chosen, PERMUTATIONS, generator)
        pairs = np.maximum(frame.specificity_p_value, frame.control_p_value)
        return {"E13 finding": float(pairs.min())}

    return p_values


def matching_p(burst: float, noise: float, word: float = 0.5, shared: float = 0.0) -> PValues:
    """E14: two routers of the same texts, whose groups have words and experts of their own.

    Args:
        burst: log-odds by which groups differ in their words, standard deviation.
        noise: the same in their experts, in each router by itself.
        word: log-odds that a word adds to each expert.
        shared: correlation of these between the routers; 0 = unrelated.
    """
    plan = TokenPlan(groups=10, tokens=300, types=300, burstiness=burst)

    def p_values(generator: np.random.Generator) -> dict[str, float]:
        corpus = draw_tokens(plan, generator)
        groups, number = corpus.groups[corpus.documents], int(corpus.types.max()) + 1
        common = generator.normal(size=(number, plan.experts))
        found = []
        for _ in range(2):
            own = generator.normal(size=(number, plan.experts))
            scores = word * (shared * common + np.sqrt(1 - shared**2) * own)[corpus.types]
            scores += noise * generator.normal(size=(int(groups.max()) + 1, plan.experts))[groups]
            chosen = (scores + generator.gumbel(size=scores.shape)).argmax(axis=1)
            found.append(type_profiles(chosen[:, None, None], corpus.types, groups, plan.experts))
        kept = (found[0].tokens >= 10) & (found[0].of_one_group < MOST_OF_ONE_GROUP)
        kept = np.flatnonzero(kept)[np.argsort(found[0].tokens[kept], kind="stable")]
        if len(kept) < 2 * BLOCK:
            return {"E14 matching": 1.0}
        weights = found[0].tokens[kept] / found[0].tokens[kept].sum()
        first, second = (each.shares[kept].transpose(1, 2, 0) for each in found)
        first = standardised(first, weights)
        orders = [np.arange(len(kept)), *type_orders(generator, len(kept), PERMUTATIONS)]
        similar = [np.nanmean(matched(first, second[..., x], weights)[0]) for x in orders]
        return {"E14 matching": float(permutation_p(np.array(similar[0]), np.array(similar[1:])))}

    return p_values


def time_p(speakers: int, speeches: int, effect: float = 0.0, longer: float = 1.0) -> PValues:
    """E15: speakers of several speeches in a row, six documents each, by speaker.

    Args:
        speakers: blocks, one after the other in time.
        speeches: of each.
        effect: log-odds that one expert gains from the first date to the last.
        longer: length of the last documents over that of the first.
    """

    def p_values(generator: np.random.Generator) -> dict[str, float]:
        number = speakers * speeches * 6
        block, experts = np.arange(number) // (speeches * 6), 8
        when = np.arange(number) // 6 / (speakers * speeches)
        scores = 0.8 * generator.normal(size=(speakers, experts))[block]
        scores += (
            0.3 * generator.normal(size=(speakers * speeches, experts))[np.arange(number) // 6]
        )
        scores[:, 0] += effect * when
        shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        tokens = generator.poisson(40 * longer**when) + 1
        counts = generator.multinomial(tokens, shares)[:, None]
        ids = [f"d{row:05d}" for row in range(number)]
        nothing = np.zeros_like(counts)
        data = DocumentCounts(
            ids, 0 * block, ("all",), (0,), 1, counts, tokens, nothing, 0 * tokens
        )
        years = [date(1800 + int(200 * x), 1, 1) for x in when]
        frame = pd.DataFrame({"id": ids, "date": years})
        names = {name: f"s{speaker}" for name, speaker in zip(ids, block, strict=True)}
        weights = np.zeros((0, number), np.float32)
        time = analyse_time(data, frame, names, PERMUTATIONS, weights, generator)
        assert time is not None
        return {
            "E15 trends": float(time.trends.p_value.min()),
            "E15 information": float(time.information.family_p_value.min()),
        }

    return p_values
