"""Groups are the unit: sources with a routing of their own do not pass for topics."""

from pathlib import Path

import numpy as np
from scipy import stats

from benchmarks.null_corpora import Plan, draw_corpus, planted
from moescope.analysis import RunData, measure_chapters, write_verdict
from moescope.analysis.chapters import context, topics
from moescope.analysis.chapters.topics.cells import topic_expert_cells
from moescope.analysis.chapters.topics.information import topic_information, topic_tests
from moescope.analysis.data.documents import DocumentCounts
from moescope.configs.compose import compose_config
from moescope.inference.store.reader import RoutingStore

from .stores import Planted, write_store

PLAN = Plan(groups=(12, 12, 12), documents=5, experts=4, group_noise=0.6)


def documents(plan: Plan, generator: np.random.Generator, grouped: bool) -> DocumentCounts:
    corpus = draw_corpus(plan, generator)
    ids = [f"d{row:04d}" for row in range(len(corpus.tokens))]
    return DocumentCounts(
        ids=ids,
        topic_ids=corpus.topic_ids,
        topics=tuple(f"topic {topic}" for topic in range(corpus.num_topics)),
        layers=tuple(range(plan.layers)),
        top_k=1,
        counts=corpus.counts,
        tokens=corpus.tokens,
        masked_counts=np.zeros_like(corpus.counts),
        masked_tokens=np.zeros_like(corpus.tokens),
        groups=[f"g{group}" for group in corpus.groups] if grouped else None,
    )


def p_values(plan: Plan, seed: int, grouped: bool) -> tuple[float, float]:
    """Of the topic information and of the cells."""
    generator = np.random.default_rng(seed)
    data = documents(plan, generator, grouped)
    tests = topic_tests(data, 39, generator)
    information = topic_information(data, tests, np.zeros((0, len(data.ids)), np.float32))
    return information.p_value[0], topic_expert_cells(data, tests).p_value.min()


def test_sources_do_not_pass_for_topics() -> None:
    grouped, alone = (
        np.array([p_values(PLAN, seed, known) for seed in range(40)]) for known in (True, False)
    )
    assert ((alone <= 0.05).sum(axis=0) > 20).all(), "documents of one group are not independent"
    assert ((grouped <= 0.05).sum(axis=0) <= stats.binom.ppf(0.9995, 40, 0.05)).all()
    assert max(max(p_values(planted(PLAN, 1.0), seed, True)) for seed in range(3)) <= 0.05


def test_below_ten_groups_in_a_topic_there_is_no_p() -> None:
    few = Plan(groups=(12, 9), documents=5)
    assert np.isnan(p_values(few, 0, grouped=True)).all()
    assert not np.isnan(p_values(few, 0, grouped=False)).any()


def test_the_verdict_names_the_unit_or_says_that_independence_was_assumed(tmp_path: Path) -> None:
    store = RoutingStore.open(write_store(tmp_path, Planted(effect=2.0), np.random.default_rng(0)))
    settings = compose_config(["report.permutations=99", "report.bootstrap=60"]).report
    names = store.documents["id"].tolist()
    said = {}
    for size in (1, 2, 8):  # documents of a group; a topic has 40
        groups = {name: f"g{row // size}" for row, name in enumerate(names)} if size > 1 else None
        run = RunData(store, settings, 0, groups)
        records = measure_chapters(run, [topics.CHAPTER, context.CHAPTER])
        sentences = write_verdict(records, run.design, [topics.CHAPTER, context.CHAPTER])
        said[size] = next(sentence for sentence in sentences if sentence.subject == "topic")
    assert "taken as independent" in said[1].evidence
    assert said[1].tone == said[2].tone == "finding"
    assert "n = 80 groups (160 documents" in said[2].evidence
    assert "has only 5 groups, and 10 are needed" in said[8].claim
