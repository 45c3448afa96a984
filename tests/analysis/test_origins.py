"""E3 by whole origins: sources with a routing of their own do not pass for topics."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from moescope.analysis.chapters.context.verdict import origin_sentences
from moescope.analysis.chapters.topics.information import topic_information, topic_null
from moescope.analysis.chapters.topics.origins import origin_information
from moescope.analysis.data.documents import DocumentCounts
from moescope.analysis.statistics.groups import information_null
from moescope.analysis.statistics.information import information_bits
from moescope.analysis.statistics.permutations import document_orders, permuted_topics, topic_sums
from moescope.inference.store.reader import RoutingStore

from .runs import measure, run_of
from .stores import Planted, write_store

TOPICS, ORIGINS, PER_ORIGIN, EXPERTS = 3, 8, 5, 4


def corpus(effect: float, generator: np.random.Generator) -> tuple[DocumentCounts, dict[str, str]]:
    """Eight origins per topic, each with its own routing; topic t adds the effect to expert t."""
    units = TOPICS * ORIGINS
    logits = 0.6 * generator.normal(size=(units, 1, EXPERTS))
    topics = np.arange(units) // ORIGINS
    logits[np.arange(units), 0, topics] += effect
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    tokens = generator.poisson(50, units * PER_ORIGIN) + 1
    counts = generator.multinomial(tokens[:, None], np.repeat(shares, PER_ORIGIN, axis=0))
    ids = [f"d{row:03d}" for row in range(len(tokens))]
    data = DocumentCounts(
        ids=ids,
        topic_ids=np.repeat(topics, PER_ORIGIN),
        topics=("a", "b", "c"),
        layers=(0,),
        top_k=1,
        counts=counts,
        tokens=tokens,
        masked_counts=np.zeros_like(counts),
        masked_tokens=np.zeros_like(tokens),
    )
    return data, {name: f"o{row // PER_ORIGIN}" for row, name in enumerate(ids)}


def p_values(effect: float, seed: int) -> tuple[float, float]:
    """By documents, by origins."""
    generator = np.random.default_rng(seed)
    data, origins = corpus(effect, generator)
    orders = document_orders(generator, len(data.ids), 39)
    null = topic_null(data, permuted_topics(orders, data.topic_ids))
    by_document = topic_information(data, null, np.zeros((0, len(data.ids)), np.float32))
    by_origin = origin_information(data, origins, orders)
    assert by_origin.origins[0] == TOPICS * ORIGINS
    return by_document.p_value[0], by_origin.p_value[0]


def test_sources_do_not_pass_for_topics() -> None:
    nothing = np.array([p_values(0.0, seed) for seed in range(60)])
    rejected = (nothing <= 0.05).sum(axis=0)
    assert rejected[0] > 30, "documents of one origin are not independent"
    assert rejected[1] <= stats.binom.ppf(0.999, 60, 0.05)
    assert max(p_values(1.5, seed)[1] for seed in range(5)) <= 0.05


def test_the_null_equals_a_loop() -> None:
    generator = np.random.default_rng(0)
    counts, labels = generator.integers(0, 9, (10, 6)), np.arange(10) % 3
    orders = document_orders(generator, 10, 7)
    observed, null = information_null(counts, labels, 3, orders)
    whole = topic_sums(counts, labels, 3).reshape(3, 2, 3)
    for row, order in zip(null, orders, strict=True):
        sums = topic_sums(counts, labels[order], 3).reshape(3, 2, 3)
        assert row == pytest.approx(information_bits(sums))
    assert observed == pytest.approx(information_bits(whole))


def test_the_verdict_says_whether_the_finding_survives(tmp_path: Path) -> None:
    store = RoutingStore.open(write_store(tmp_path, Planted(effect=2.0), np.random.default_rng(0)))
    names = store.documents["id"].tolist()
    said = {}
    for size in (2, 20, 40):  # documents of an origin; a topic has 40
        origins = {name: f"o{row // size}" for row, name in enumerate(names)}
        run = run_of(store, groups=origins)
        record = measure(run, "context")["context"]
        (said[size],) = origin_sentences(record, run.design)
        assert f"n = {160 // size} origins" in said[size].evidence
    assert said[2].claim.startswith("The topic information holds")
    assert said[2].tone == "fact"
    assert said[20].claim.startswith("Topic and source cannot be told apart")
    assert said[40].tone == "warning"
    run = run_of(store)
    alone = measure(run, "context")["context"]
    assert list(origin_sentences(alone, run.design)) == []
    lost = record.origins.assign(family_p_value=0.5)
    (sentence,) = origin_sentences(replace(alone, origins=lost), run.design)
    assert sentence.claim.startswith("In layer 2 it may be sources")


def test_one_origin_per_topic_gets_no_p_and_one_per_document_no_second_test() -> None:
    data, _ = corpus(1.0, np.random.default_rng(0))
    orders = document_orders(np.random.default_rng(0), len(data.ids), 19)
    of_topic = {name: str(topic) for name, topic in zip(data.ids, data.topic_ids, strict=True)}
    assert origin_information(data, of_topic, orders).p_value.isna().all()
    assert origin_information(data, None, orders).empty
