"""The tests whose level and power calibration.py measures: from a plan to p-values."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from benchmarks.null_corpora import Corpus, Plan, draw_corpus
from benchmarks.null_tokens import TokenCorpus, TokenPlan, document_counts, draw_tokens
from moescope.analysis.chapters.context.measures import beyond_vocabulary
from moescope.analysis.chapters.knockout.measures import KnockoutLosses, knockout_effects
from moescope.analysis.chapters.topic_classifier.measures import classifier_input, topic_classifier
from moescope.analysis.chapters.topics.cells import topic_expert_cells
from moescope.analysis.chapters.topics.information import topic_information, topic_tests
from moescope.analysis.data.documents import DocumentCounts
from moescope.analysis.data.sample import TokenSample
from moescope.analysis.statistics.permutations import permutation_p, topic_sums
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
