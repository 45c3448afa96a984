"""Whether the statistics keep their promises: false positives, power, coverage of intervals.

    python benchmarks/calibration.py [--quick] [--corpora N]

Corpora are drawn token by token with document effects (tests/analysis/samples.py): without a topic
effect, with topics that differ in their words alone, with a contextual effect. Last line: JSON with
`false_positive_rate` and `power` by quantity at the 5% level (E3 topic information, E4 beyond
vocabulary, E6 topic classifier, E13 knock-out, with losses skewed to the right and to the left, and
its specificity), `words_only` (rejections where topics differ in words alone: E3 must, E4 must
not), `coverage` of the 95% bootstrap intervals, `balance_coverage` of those of MaxVio and of the
effective experts by experts, documents and load, `corpora` and `limits` (central 99.8% of the
binomial at 5%).
"""

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from scipy import stats

sys.path.insert(0, str(Path(__file__).parent.parent))

from moescope.analysis.chapters.context.measures import beyond_vocabulary
from moescope.analysis.chapters.knockout.measures import KnockoutLosses, knockout_effects
from moescope.analysis.chapters.load.measures import (
    effective_experts,
    expert_load,
    layer_balance,
    max_violation,
)
from moescope.analysis.chapters.topic_classifier.measures import classifier_input, topic_classifier
from moescope.analysis.chapters.topics.cells import topic_expert_cells
from moescope.analysis.chapters.topics.information import topic_information, topic_null
from moescope.analysis.data.documents import DocumentCounts
from moescope.analysis.data.sample import TokenSample
from moescope.analysis.statistics.bootstrap import poisson_weights
from moescope.analysis.statistics.information import information_bits
from moescope.analysis.statistics.permutations import document_orders, permuted_topics
from tests.analysis.samples import PlantedTokens, document_choices, planted_sample

LEVEL = 0.05
PERMUTATIONS = 39  # (b + 1) / (P + 1) reaches 5% exactly
SIZE = {"topics": 4, "documents_per_topic": 12, "tokens": 30, "document_noise": 0.8}
NOTHING = PlantedTokens(**SIZE)
WORDS = PlantedTokens(**SIZE, vocabulary=1.0)
CONTEXT = PlantedTokens(**SIZE, context=1.0)
LOADS = {"even": 0.0, "uneven": 0.2, "concentrated": 1.0}  # standard deviation of log-odds


def document_table(sample: TokenSample) -> DocumentCounts:
    """The same corpus as the report sees it: choices per document."""
    counts = document_choices(sample)
    return DocumentCounts(
        ids=[f"document-{row}" for row in sample.rows],
        topic_ids=sample.topic_ids,
        topics=sample.topics,
        layers=sample.layers,
        top_k=sample.experts.shape[2],
        counts=counts,
        tokens=counts[:, 0].sum(axis=-1),
        masked_counts=np.zeros_like(counts),
        masked_tokens=np.zeros(len(counts), dtype=np.int64),
    )


def information_p(plan: PlantedTokens, generator: np.random.Generator) -> float:
    """E3."""
    data = document_table(planted_sample(plan, generator))
    orders = document_orders(generator, len(data.ids), PERMUTATIONS)
    null = topic_null(data, permuted_topics(orders, data.topic_ids))
    frame = topic_information(data, null, np.zeros((0, len(data.ids)), np.float32))
    return float(frame.family_p_value.iloc[0])


def beyond_p(plan: PlantedTokens, generator: np.random.Generator) -> float:
    """E4."""
    sample = planted_sample(plan, generator)
    orders = document_orders(generator, len(sample.rows), PERMUTATIONS)
    return float(beyond_vocabulary(sample, orders).family_p_value.iloc[0])


def classifier_p(plan: PlantedTokens, generator: np.random.Generator) -> float:
    """E6."""
    sample = planted_sample(plan, generator)
    names = [str(row) for row in sample.rows]
    counts = document_choices(sample)
    read = classifier_input(counts, sample.topic_ids, names, None, generator)
    return float(topic_classifier(read, PERMUTATIONS, generator).p_value.iloc[0])


def knockout_p(
    column: str, effect: float, generator: np.random.Generator, skew: float = 1.0
) -> float:
    """E13: smallest family-wise p of nine pairs; losses are skewed, as losses are."""
    topic_ids = np.repeat(np.arange(9), 20)
    scale = generator.uniform(0.5, 2.0, 9)[topic_ids]  # topics differ in how much losses vary
    changes = skew * scale * (generator.gamma(4.0, 0.05, (29, 180)) - 0.2)
    changes[0, topic_ids == 0] += effect
    experts = [(0, expert) for expert in range(29)]
    losses = KnockoutLosses(experts, changes, topic_ids, tuple(map(str, range(9))), np.full(9, 20))
    chosen = pd.DataFrame({"layer": 0, "expert": range(9), "topic_id": range(9)})
    frame = knockout_effects(losses, chosen, PERMUTATIONS, generator)
    return float(frame[column].min())


def rejections(p_value: Callable[[np.random.Generator], float], corpora: int) -> float:
    """Share of corpora with p at or below 5%."""
    found = [p_value(np.random.default_rng([7, corpus])) for corpus in range(corpora)]
    return float(np.mean(np.array(found) <= LEVEL))


def coverage(corpora: int, documents: int = 40, draws: int = 200) -> dict[str, float]:
    """Share of the 95% intervals that hold the truth: load, topic × expert, topic information."""
    topics, experts, noise = 4, 8, 0.5
    hidden = 0.7 * np.random.default_rng(0).normal(size=(topics, experts))
    truth = _population_shares(hidden, noise)  # (T, E)
    bits = information_bits(truth[:, None])[0]
    held: dict[str, list[float]] = {"load": [], "topic_expert": [], "topic_information": []}
    for corpus in range(corpora):
        generator = np.random.default_rng([11, corpus])
        topic_ids = np.repeat(np.arange(topics), documents)
        data = _planted_documents(hidden, topic_ids, noise, 60, generator)
        weights = poisson_weights(data.ids, draws, corpus)
        orders = document_orders(generator, len(data.ids), PERMUTATIONS)
        null = topic_null(data, permuted_topics(orders, topic_ids))
        load = expert_load(data, weights)
        cells = topic_expert_cells(data, weights, null.largest_cell)
        information = topic_information(data, null, weights)
        for name, low, high, target in (
            ("load", load.low, load.high, truth.mean(axis=0)),
            ("topic_expert", cells.share_low, cells.share_high, truth.ravel()),
            ("topic_information", information.low, information.high, bits),
        ):
            held[name].append(float(np.mean((low <= target) & (target <= high))))
    return {name: float(np.mean(values)) for name, values in held.items()}


def balance_coverage(corpora: int, draws: int = 200) -> dict[str, float]:
    """Share of the intervals of MaxVio and of the effective experts that hold the truth."""
    held: dict[str, float] = {}
    settings = itertools.product((8, 64), (120, 900), LOADS.items())
    for experts, documents, (name, spread) in settings:
        hidden = spread * np.random.default_rng(5).normal(size=(1, experts))
        truth = _population_shares(hidden, 0.8)[0] if spread else np.full(experts, 1 / experts)
        targets = {
            "max_violation": max_violation(truth),
            "effective_experts": effective_experts(truth),
        }
        topic_ids, frames = np.zeros(documents, dtype=np.int64), []
        for corpus in range(corpora):
            generator = np.random.default_rng([13, corpus])
            data = _planted_documents(hidden, topic_ids, 0.8, 150, generator)
            frames.append(layer_balance(data, poisson_weights(data.ids, draws, corpus)))
        found = pd.concat(frames)
        for quantity, target in targets.items():
            inside = found[f"{quantity}_low"].le(target + 1e-9)
            inside &= found[f"{quantity}_high"].ge(target - 1e-9)
            held[f"{quantity}, {experts} experts, {documents} documents, {name}"] = inside.mean()
    return held


def _planted_documents(
    hidden: np.ndarray,
    topic_ids: np.ndarray,
    noise: float,
    tokens: float,
    generator: np.random.Generator,
) -> DocumentCounts:
    """Documents that choose experts by their topic's log-odds (T, E) and noise of their own."""
    logits = hidden[topic_ids] + noise * generator.normal(size=(len(topic_ids), hidden.shape[1]))
    lengths = generator.poisson(tokens, len(topic_ids)) + 1
    counts = generator.multinomial(lengths, _softmax(logits))[:, None]
    return DocumentCounts(
        ids=[f"document-{row}" for row in range(len(topic_ids))],
        topic_ids=topic_ids,
        topics=tuple(map(str, range(len(hidden)))),
        layers=(0,),
        top_k=1,
        counts=counts,
        tokens=lengths,
        masked_counts=np.zeros_like(counts),
        masked_tokens=np.zeros_like(lengths),
    )


def _population_shares(hidden: np.ndarray, noise: float) -> np.ndarray:
    """Expert shares of each topic over all documents that could be drawn: (T, E)."""
    effects = noise * np.random.default_rng(1).normal(size=(100_000, 1, hidden.shape[1]))
    shares: np.ndarray = _softmax(hidden + effects).mean(axis=0)
    return shares


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: np.ndarray = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return shares


def measure(corpora: int) -> dict[str, object]:
    """Runs everything; power and words-only on a quarter of the corpora."""
    tests = {"E3": information_p, "E4": beyond_p, "E6": classifier_p}
    columns = {"E13": "p_value", "E13_specificity": "specificity_p_value"}
    fewer = max(10, corpora // 4)
    false_positive = {
        name: rejections(lambda g, test=test: test(NOTHING, g), corpora)
        for name, test in tests.items()
    } | {
        name: rejections(lambda g, column=column: knockout_p(column, 0.0, g), corpora)
        for name, column in columns.items()
    }
    false_positive["E13_left_skewed"] = rejections(
        lambda g: knockout_p("p_value", 0.0, g, skew=-1.0), corpora
    )
    power = {
        name: rejections(lambda g, test=test: test(CONTEXT, g), fewer)
        for name, test in tests.items()
    } | {
        name: rejections(lambda g, column=column: knockout_p(column, 0.15, g), fewer)
        for name, column in columns.items()
    }
    words = {
        name: rejections(lambda g, test=test: test(WORDS, g), corpora if name == "E4" else fewer)
        for name, test in (("E3", information_p), ("E4", beyond_p))
    }
    limits = stats.binom.ppf([0.001, 0.999], corpora, LEVEL) / corpora
    return {
        "false_positive_rate": false_positive,
        "power": power,
        "words_only": words,
        "coverage": coverage(fewer),
        "balance_coverage": balance_coverage(corpora),
        "corpora": corpora,
        "limits": [float(limit) for limit in limits],
    }


def main() -> None:
    """Measures and prints a table and, last, JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="40 corpora")
    parser.add_argument("--corpora", type=int, default=400, help="null corpora per quantity")
    options = parser.parse_args()
    clock = time.monotonic()
    result = measure(40 if options.quick else options.corpora)
    table = Table("what", "quantity", "share")
    for what, values in result.items():
        if isinstance(values, dict):
            for name, value in values.items():
                table.add_row(what, name, f"{value:.3f}")
    Console().print(table)
    print(json.dumps({**result, "elapsed_s": round(time.monotonic() - clock, 1)}))


if __name__ == "__main__":
    main()
