"""E2 and E3 find what was planted, under its own name, and nothing else."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from moescope.analysis.chapters.topics.cells import topic_expert_cells
from moescope.analysis.chapters.topics.information import (
    effect_band,
    interval_band,
    topic_information,
    topic_tests,
)
from moescope.analysis.data.documents import DocumentCounts, document_counts
from moescope.analysis.statistics.bootstrap import poisson_weights
from moescope.analysis.statistics.information import information_bits
from moescope.analysis.statistics.permutations import (
    document_orders,
    family_wise_p,
    permutation_p,
    permuted_sums,
    permuted_topics,
    topic_sums,
)
from moescope.analysis.statistics.ratios import log2_ratios
from moescope.inference.store.reader import RoutingStore

from .stores import Planted, planted_counts, write_store


def from_plan(plan: Planted, seed: int) -> DocumentCounts:
    topics, tokens, counts, masked = planted_counts(plan, np.random.default_rng(seed))
    return DocumentCounts(
        ids=[f"document-{number:05d}" for number in range(len(topics))],
        topic_ids=topics,
        topics=plan.topics,
        layers=plan.layers,
        top_k=1,
        counts=counts,
        tokens=tokens,
        masked_counts=masked,
        masked_tokens=masked[:, 0].sum(axis=-1),
    )


def analyse(
    data: DocumentCounts, permutations: int = 199, seed: int = 0, draws: int = 100
) -> tuple[pd.DataFrame, pd.DataFrame]:
    tests = topic_tests(data, permutations, np.random.default_rng(seed))
    weights = poisson_weights(data.group_names, draws, seed)
    return topic_information(data, tests, weights), topic_expert_cells(data, tests)


def test_planted_topics_are_found_in_their_layer_under_their_names() -> None:
    plan = Planted(effect=1.5)
    layers, cells = analyse(from_plan(plan, 1))
    quiet, loud = layers.to_dict("records")
    assert (quiet["layer"], loud["layer"]) == (0, 2)
    assert loud["family_p_value"] == 1 / 200
    assert loud["share"] > 0.05 > 0.005 > quiet["share"]
    assert loud["low"] < loud["bits"] < loud["high"]
    marked = cells[cells.p_value <= 0.05]
    assert set(marked.layer) == {2}
    strongest = marked.sort_values("log2_ratio").groupby("topic").last()
    assert {topic: plan.topics.index(topic) for topic in plan.topics} == dict(strongest.expert)
    assert (marked.low <= marked.log2_ratio).all()
    assert (marked.log2_ratio <= marked.high).all()


def test_corrected_information_is_near_the_truth() -> None:
    plan = Planted(effect=1.0, document_noise=0.0, layers=(0,), effect_layers=(0,))
    logits = plan.effect * np.eye(len(plan.topics), plan.experts)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = information_bits(shares[:, None] * 1e9)[0]
    layers, _ = analyse(from_plan(plan, 2))
    assert layers.bits[0] == pytest.approx(truth, rel=0.15)
    assert layers.low[0] < truth < layers.high[0]
    assert layers.plug_in_bits[0] > layers.bits[0]


def test_shuffled_topics_give_no_small_p_values_too_often() -> None:
    plan = Planted(documents_per_topic=15, document_noise=1.0, experts=6)
    p_layers, p_families, p_cells = [], [], []
    for draw in range(60):
        layers, cells = analyse(from_plan(plan, 100 + draw), 99, seed=draw, draws=0)
        p_layers += list(layers.p_value)
        p_families.append(layers.family_p_value.min())
        p_cells.append(cells.p_value.min())
    for p_values in (p_layers, p_families, p_cells):
        limit = stats.binom.ppf(0.9999, len(p_values), 0.05)
        assert np.sum(np.array(p_values) <= 0.05) <= limit
    assert stats.kstest(p_layers, "uniform").pvalue > 1e-4


def test_information_equals_a_loop_from_the_definition() -> None:
    sums = np.random.default_rng(0).integers(0, 50, (3, 2, 4))
    for layer in range(2):
        shares = [[float(x) / sums[t, layer].sum() for x in sums[t, layer]] for t in range(3)]
        mean = [sum(column) / 3 for column in zip(*shares, strict=True)]
        entropies = [-sum(p * math.log2(p) for p in row if p) for row in [*shares, mean]]
        expected = entropies[3] - sum(entropies[:3]) / 3
        assert information_bits(sums)[layer] == pytest.approx(expected)


def test_information_has_its_known_extremes() -> None:
    assert information_bits(np.ones((4, 1, 8)) * 5)[0] == pytest.approx(0)
    assert information_bits(np.eye(4)[:, None] * 5)[0] == pytest.approx(2)  # log2 of 4 topics
    # a topic with ten times the tokens weighs no more than the others
    uneven = np.eye(4)[:, None] * np.array([50, 5, 5, 5])[:, None, None]
    assert information_bits(uneven)[0] == pytest.approx(2)


@pytest.mark.parametrize("scale", [1, 2**20])
def test_batched_permuted_sums_equal_a_loop(scale: int) -> None:
    generator = np.random.default_rng(3)
    counts = generator.integers(0, 90, (30, 7)) * scale
    topics = np.repeat(np.arange(3), 10)
    permuted = permuted_topics(document_orders(generator, 30, 11), topics)
    assert all(sorted(row) == sorted(topics) for row in permuted.tolist())
    values = counts.astype(np.float64)
    batches = np.concatenate(list(permuted_sums(values, permuted, 3)))
    for row, sums in zip(permuted, batches, strict=True):
        np.testing.assert_array_equal(sums, topic_sums(counts, row, 3))


def test_p_values_count_ties_and_are_never_zero() -> None:
    null = np.arange(99.0)[:, None]
    assert permutation_p(np.array([1000.0]), null)[0] == 1 / 100
    assert permutation_p(np.array([98.0]), null)[0] == 2 / 100
    assert permutation_p(np.array([-1.0]), null)[0] == 1
    pair = np.column_stack([np.zeros(99), np.arange(99.0)])
    assert family_wise_p(np.array([97.5, 98.0]), pair).tolist() == [2 / 100, 2 / 100]


def test_document_order_changes_nothing(tmp_path: Path) -> None:
    plan = Planted(effect=0.7, documents_per_topic=12)
    order = np.random.default_rng(9).permutation(48)
    stores = [
        write_store(tmp_path / "a", plan, np.random.default_rng(5)),
        write_store(tmp_path / "b", plan, np.random.default_rng(5), order=order),
    ]
    first, second = (analyse(document_counts(RoutingStore.open(store))) for store in stores)
    pd.testing.assert_frame_equal(first[0], second[0])
    pd.testing.assert_frame_equal(first[1], second[1])


def test_renumbered_experts_only_renumber_the_result() -> None:
    data = from_plan(Planted(effect=0.7, documents_per_topic=12), 6)
    new_ids = np.random.default_rng(1).permutation(8)
    renumbered = DocumentCounts(
        **{**data.__dict__, "counts": data.counts[..., np.argsort(new_ids)]}
    )
    (layers, cells), (other_layers, other_cells) = analyse(data), analyse(renumbered)
    pd.testing.assert_frame_equal(layers, other_layers)
    cells = cells.assign(expert=new_ids[cells.expert])
    key = ["topic", "layer", "expert"]
    pd.testing.assert_frame_equal(
        cells.sort_values(key, ignore_index=True),
        other_cells.sort_values(key, ignore_index=True),
        check_dtype=False,
    )


def test_few_documents_get_no_p_value() -> None:
    layers, cells = analyse(from_plan(Planted(effect=2.0, documents_per_topic=9), 7))
    assert layers.p_value.isna().all()
    assert layers.family_p_value.isna().all()
    assert cells.p_value.isna().all()
    assert layers.fewest_groups.eq(9).all()


def test_ratios_of_empty_and_dead_experts_are_finite() -> None:
    sums = np.array([[[10, 0, 0]], [[0, 10, 0]]])
    ratios = log2_ratios(sums)
    assert np.isfinite(ratios).all()
    assert ratios[0, 0, 2] == pytest.approx(0)
    assert ratios[0, 0, 0] > 0 > ratios[1, 0, 0]


def test_bootstrap_weights_belong_to_the_document() -> None:
    ids = [f"d{number}" for number in range(400)]
    weights = poisson_weights(ids, 100, seed=1)
    assert weights.mean() == pytest.approx(1, abs=0.02)
    assert weights.var() == pytest.approx(1, abs=0.03)
    np.testing.assert_array_equal(poisson_weights(ids[::-1], 100, 1)[:, ::-1], weights)
    assert (poisson_weights(ids, 100, seed=2) != weights).any()


def test_a_band_is_that_of_the_interval() -> None:
    assert interval_band(0.021, 0.09) == "moderate"
    assert interval_band(0.0, 0.03) == "negligible to moderate"
    assert interval_band(np.nan, np.nan) == "none"


def test_effect_bands() -> None:
    shares = [-0.01, 0.004, 0.005, 0.02, 0.5]
    assert [effect_band(x) for x in shares] == [
        "negligible",
        "negligible",
        "weak",
        "moderate",
        "strong",
    ]
