"""The intervals whose coverage calibration.py measures: from a plan to whether they hold."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd

from benchmarks.calibration_tests import documents_of, sample_of
from benchmarks.null_corpora import Plan, draw_corpus, expected_shares
from benchmarks.null_tokens import TokenPlan, document_counts, draw_tokens
from moescope.analysis.chapters.context.bracket import word_bits, word_bracket
from moescope.analysis.chapters.knockout.measures import KnockoutLosses, knockout_effects
from moescope.analysis.chapters.load.measures import (
    effective_experts,
    expert_load,
    layer_balance,
    max_violation,
)
from moescope.analysis.chapters.topic_classifier.measures import classifier_input, topic_classifier
from moescope.analysis.chapters.topics.cells import topic_expert_cells
from moescope.analysis.chapters.topics.information import topic_information, topic_tests
from moescope.analysis.statistics.bootstrap import poisson_weights
from moescope.analysis.statistics.information_size import share_information

PERMUTATIONS, DRAWS, MANY = 99, 200, 1_500
CLASSIFIER_PERMUTATIONS = 9  # for the mean gain of chance
EFFECTS = {"none": 0.0, "weak": 0.1, "moderate": 0.4, "strong": 1.2}
Held = Callable[[np.random.Generator], dict[str, float]]


@cache
def truth(plan: Plan) -> np.ndarray:
    """Expert shares of each topic of the one layer (T, E)."""
    shares: np.ndarray = expected_shares(plan)[:, 0]
    return shares


def topic_intervals(plan: Plan) -> Held:
    """Of topic information, of the shares and ratios of cells, and of all ratios at once."""

    def held(generator: np.random.Generator) -> dict[str, float]:
        data, shares = documents_of(draw_corpus(plan, generator)), truth(plan)
        tests = topic_tests(data, PERMUTATIONS, generator)
        weights = poisson_weights(data.group_names, DRAWS, int(generator.integers(2**31)))
        information = topic_information(data, tests, weights).iloc[0]
        cells = topic_expert_cells(data, tests)
        bits = float(share_information(shares))
        ratios = np.log2(shares / shares.mean(axis=0)).ravel()
        share = cells.share_low.le(shares.ravel()) & cells.share_high.ge(shares.ravel())
        ratio = cells.low.le(ratios) & cells.high.ge(ratios)
        family = cells.family_low.le(ratios) & cells.family_high.ge(ratios)
        return {
            "information": float(information.low - 1e-9 <= bits <= information.high + 1e-9),
            "topic × expert share": float(share.mean()),
            "log2 ratio": float(ratio.mean()),
            "all ratios at once": float(family.all()),
        }

    return held


def load_intervals(plan: Plan) -> Held:
    """Of the load of an expert, of MaxVio and of the effective experts."""

    def held(generator: np.random.Generator) -> dict[str, float]:
        data, load = documents_of(draw_corpus(plan, generator)), truth(plan).mean(axis=0)
        weights = poisson_weights(data.group_names, DRAWS, int(generator.integers(2**31)))
        own, balance = expert_load(data, weights), layer_balance(data, weights).iloc[0]
        violation, effective = float(max_violation(load)), float(effective_experts(load))
        return {
            "load": float((own.low.le(load) & own.high.ge(load)).mean()),
            "MaxVio": float(
                balance.max_violation_low - 0.005 <= violation <= balance.max_violation_high + 0.005
            ),
            "effective experts": float(
                balance.effective_experts_low - 0.01
                <= effective
                <= balance.effective_experts_high + 0.01
            ),
        }

    return held


def knockout_intervals(groups: int) -> Held:
    """Of the effect of a knock-out and of its specificity, losses skewed and of unlike spread."""

    def held(generator: np.random.Generator) -> dict[str, float]:
        topic_ids = np.repeat(np.arange(4), groups)
        scale = np.array([0.5, 1.0, 1.5, 2.0])[topic_ids]
        changes = scale * (generator.gamma(4.0, 0.05, (24, 4 * groups)) - 0.2)
        losses = KnockoutLosses(
            [(0, x) for x in range(24)], changes, topic_ids, tuple("abcd"), np.full(4, groups)
        )
        chosen = pd.DataFrame({"layer": 0, "expert": range(4), "topic_id": range(4)})
        frame = knockout_effects(losses, chosen, 2 * DRAWS, generator)
        special = frame.specificity_low.le(0) & frame.specificity_high.ge(0)
        return {
            "E13 effect": float((frame.low.le(0) & frame.high.ge(0)).mean()),
            "E13 specificity": float(special.mean()),
        }

    return held


@cache
def reproduced(plan: TokenPlan) -> np.ndarray:
    """Share of the topic information that words reproduce, of many groups: upper, lower bound."""
    many = replace(plan, groups=MANY, documents=1)
    sample = sample_of(draw_tokens(many, np.random.default_rng(1)))
    bits = word_bits(sample, range(len(sample.rows)))
    shares: np.ndarray = bits[1:] / bits[0]
    return shares


def bracket_intervals(plan: TokenPlan) -> Held:
    """Of both bounds of what words reproduce of the topic information."""

    def held(generator: np.random.Generator) -> dict[str, float]:
        corpus = draw_tokens(plan, generator)
        names = [f"g{group}" for group in corpus.groups]
        found = word_bracket(sample_of(corpus), names, generator)
        return {
            f"{name} bound": float(
                found[f"{name}_share_low"][0] <= truth <= found[f"{name}_share_high"][0]
            )
            for name, truth in zip(("upper", "lower"), reproduced(plan), strict=True)
        }

    return held


def classifier_frame(plan: TokenPlan, generator: np.random.Generator) -> pd.DataFrame:
    """Accuracies of a corpus, by reader."""
    corpus = draw_tokens(plan, generator)
    groups = [f"g{group}" for group in corpus.groups]
    counts = document_counts(corpus)
    read = classifier_input(counts, corpus.topic_ids, groups, sample_of(corpus), generator)
    return topic_classifier(read, CLASSIFIER_PERMUTATIONS, generator).set_index("reader")


@cache
def expected_accuracy(plan: TokenPlan) -> pd.DataFrame:
    """Accuracy and gain of such corpora, on average."""
    generators = (np.random.default_rng([13, corpus]) for corpus in range(DRAWS))
    frames = [classifier_frame(plan, generator)[["accuracy", "gain"]] for generator in generators]
    mean: pd.DataFrame = sum(frames[1:], frames[0]) / len(frames)
    return mean


def classifier_intervals(plan: TokenPlan) -> Held:
    """Of accuracies, and of what experts add to words."""

    def held(generator: np.random.Generator) -> dict[str, float]:
        frame, true = classifier_frame(plan, generator), expected_accuracy(plan)
        within = frame.low.le(true.accuracy) & frame.high.ge(true.accuracy)
        gain = frame.gain_low.le(true.gain) & frame.gain_high.ge(true.gain)
        return {
            "accuracy, experts": float(within["experts"]),
            "accuracy, words": float(within["words"]),
            "accuracy, both": float(within["both"]),
            "gain": float(gain["both"]),
        }

    return held


TOPICS = Plan(group_noise=0.4)
WORDS = TokenPlan(vocabulary=1.0, context=0.5, effect_seed=0)
READ = TokenPlan(vocabulary=0.5, context=0.5, effect_seed=0)
LOAD = Plan(groups=(120,), tokens=150.0, group_noise=0.8)
COVERAGE: dict[str, Held] = {
    **{
        f"{groups} groups a topic, {name} effect": topic_intervals(
            replace(TOPICS, groups=(groups,) * 4, effect=effect)
        )
        for groups in (10, 30, 100)
        for name, effect in EFFECTS.items()
    },
    "10 groups a topic, 64 experts, weak effect": topic_intervals(
        replace(TOPICS, groups=(10,) * 4, experts=64, effect=0.1)
    ),
    "30 groups a topic, 64 experts, moderate effect": topic_intervals(
        replace(TOPICS, groups=(30,) * 4, experts=64, effect=0.4)
    ),
    "groups of five documents, length x10, moderate effect": topic_intervals(
        replace(TOPICS, documents=5, length_ratio=10.0, tokens=20.0, effect=0.4)
    ),
    "heavy-tailed lengths, moderate effect": topic_intervals(
        replace(TOPICS, length_tail=1.2, effect=0.4)
    ),
    **{
        f"knock-outs, {groups} groups a topic": knockout_intervals(groups) for groups in (5, 12, 30)
    },
    "words, and context": bracket_intervals(WORDS),
    "words alone": bracket_intervals(replace(WORDS, context=0.0)),
    "words, 10 groups a topic": bracket_intervals(replace(WORDS, groups=10, tokens=150)),
    "words, 60 groups a topic": bracket_intervals(replace(WORDS, groups=60)),
    "words, groups of five documents": bracket_intervals(
        replace(WORDS, documents=5, tokens=30, group_noise=0.6)
    ),
    "words, length x10": bracket_intervals(replace(WORDS, length_ratio=10.0)),
    "words, mostly context": bracket_intervals(replace(WORDS, vocabulary=0.4, context=1.0)),
    "classifier": classifier_intervals(READ),
    "classifier, nothing beyond words": classifier_intervals(replace(READ, context=0.0)),
    "classifier, much beyond words": classifier_intervals(replace(READ, context=1.2)),
    "classifier, little to read": classifier_intervals(replace(READ, vocabulary=0.2, context=0.2)),
    "classifier, 10 groups a topic": classifier_intervals(replace(READ, groups=10)),
    "classifier, 60 groups a topic": classifier_intervals(replace(READ, groups=60, tokens=30)),
    "classifier, groups of five documents": classifier_intervals(
        replace(READ, documents=5, group_noise=0.6, tokens=30)
    ),
    "classifier, length x10": classifier_intervals(replace(READ, length_ratio=10.0, tokens=30)),
    "load, 8 experts": load_intervals(LOAD),
    "load, 64 experts": load_intervals(replace(LOAD, experts=64)),
    "load, concentrated": load_intervals(replace(LOAD, load=1.0)),
    "load, groups of five documents": load_intervals(
        replace(LOAD, documents=5, document_noise=0.3, tokens=40.0)
    ),
}
