"""Bootstrap intervals: what they hold, and where there is none."""

import numpy as np
import pytest

from moescope.analysis.chapters.load.figures import balance_figure, load_figure, topic_load_figure
from moescope.analysis.chapters.load.measures import expert_load, layer_balance
from moescope.analysis.chapters.topics.cells import topic_expert_cells
from moescope.analysis.chapters.topics.figures import depth_figure, topic_heatmap
from moescope.analysis.chapters.topics.information import topic_information, topic_null
from moescope.analysis.data.documents import DocumentCounts
from moescope.analysis.statistics.bootstrap import bootstrap_topic_sums, interval, poisson_weights
from moescope.analysis.statistics.permutations import document_orders, permuted_topics


def corpus(sizes: list[int], experts: int, generator: np.random.Generator) -> DocumentCounts:
    """Documents of topics of given sizes, routed evenly but for noise of each document."""
    topic_ids = np.repeat(np.arange(len(sizes)), sizes)
    odds = np.exp(0.8 * generator.normal(size=(len(topic_ids), experts)))
    counts = generator.multinomial(100, odds / odds.sum(axis=1, keepdims=True))[:, None]
    return DocumentCounts(
        ids=[f"document-{row}" for row in range(len(topic_ids))],
        topic_ids=topic_ids,
        topics=tuple("abcdef"[: len(sizes)]),
        layers=(3,),
        top_k=1,
        counts=counts,
        tokens=np.full(len(topic_ids), 100),
        masked_counts=np.zeros_like(counts),
        masked_tokens=np.zeros(len(topic_ids), dtype=np.int64),
    )


def test_an_interval_is_over_the_draws_that_say_something() -> None:
    draws = np.random.default_rng(0).normal(size=(200, 3))
    draws[:60, 1] = draws[:101, 2] = np.nan
    low, high = interval(draws, 5)
    for column, first in ((0, 0), (1, 60)):
        expected = np.quantile(draws[first:, column], [0.025, 0.975])
        assert [low[column], high[column]] == pytest.approx(expected)
    assert np.isnan([low[2], high[2]]).all()  # most draws say nothing
    low, high = interval(draws[:, :2], np.array([2, 3]))
    assert np.isnan(low).tolist() == np.isnan(high).tolist() == [True, False]
    assert np.isnan(interval(draws[:0], 5)).all()


@pytest.mark.parametrize("experts", [4, 32])
def test_intervals_of_balance_hold_an_even_load_and_their_estimate(experts: int) -> None:
    held, largest, bias = [], [], []
    for seed in range(60):
        data = corpus([60], experts, np.random.default_rng(seed))
        row = layer_balance(data, poisson_weights(data.ids, 200, seed)).iloc[0]
        assert row.max_violation_low <= row.max_violation <= row.max_violation_high
        assert row.effective_experts_low <= row.effective_experts <= row.effective_experts_high
        assert row.effective_experts_high <= experts
        held.append((row.max_violation_low == 0, row.effective_experts_high > experts * 0.9999))
        largest.append(row.max_violation)
        bias.append(row.max_violation_bias)
    assert np.min(np.mean(held, axis=0)) > 0.85  # 0 with percentiles of the resampled values
    assert np.mean(bias) == pytest.approx(np.mean(largest), rel=0.15)  # all of it is chance


def test_the_interval_of_max_violation_equals_a_loop() -> None:
    data = corpus([20], 5, np.random.default_rng(1))
    weights = poisson_weights(data.ids, 50, 1)
    row = layer_balance(data, weights).iloc[0]
    load = data.counts[:, 0].sum(axis=0) / data.counts.sum() * 5
    drawn = [(w @ data.counts[:, 0]) / (w @ data.counts[:, 0]).sum() * 5 for w in weights]
    deviations = [max(one - own for one, own in zip(x, load, strict=True)) for x in drawn]
    ends = [np.quantile([x[expert] for x in drawn], 0.975) for expert in range(5)]
    assert row.max_violation_low == pytest.approx(
        max(0, max(load) - 1 - np.quantile(deviations, 0.975)), abs=1e-6
    )
    assert row.max_violation_high == pytest.approx(max(ends) - 1)
    assert row.max_violation_bias == pytest.approx(np.mean(deviations))


def test_draws_without_a_topic_are_left_out() -> None:
    data = corpus([20, 4], 3, np.random.default_rng(2))
    weights = poisson_weights(data.ids, 400, 2)
    cells = topic_expert_cells(data, weights, np.zeros(9)).set_index(["topic", "expert"])
    sums = bootstrap_topic_sums(data.counts[:, 0], data.topic_ids, 2, weights)[:, 1]
    held = weights[:, 20:].sum(axis=1) > 0
    assert 0 < (~held).sum() < 40
    shares = sums[held] / sums[held].sum(axis=1, keepdims=True)
    for expert in range(3):
        low, high = np.quantile(shares[:, expert], [0.025, 0.975])
        assert cells.share_low["b", expert] == pytest.approx(low)
        assert cells.share_high["b", expert] == pytest.approx(high)
    null = topic_null(data, np.tile(data.topic_ids, (5, 1)))
    found = topic_information(data, null, weights).iloc[0]
    some = topic_information(data, null, weights[held]).iloc[0]
    assert (found.low, found.high) == pytest.approx((some.low, some.high))


def test_information_below_chance_keeps_its_interval() -> None:
    below = 0
    for seed in range(12):
        generator = np.random.default_rng(seed)
        data = corpus([12, 12, 12], 6, generator)
        orders = document_orders(generator, 36, 49)
        null = topic_null(data, permuted_topics(orders, data.topic_ids))
        row = topic_information(data, null, poisson_weights(data.ids, 200, seed)).iloc[0]
        assert row.low < row.bits < row.high
        assert row.share_low < row.share < row.share_high
        below += row.bits < 0
    assert below > 2


def test_two_documents_give_no_interval_and_figures_say_so() -> None:
    data = corpus([20, 20, 2], 3, np.random.default_rng(4))
    weights = poisson_weights(data.ids, 50, 4)
    null = topic_null(data, np.tile(data.topic_ids, (5, 1)))
    cells = topic_expert_cells(data, weights, null.largest_cell)
    ends = cells[["share_low", "share_high", "low", "high"]]
    assert ends[cells.topic == "c"].isna().all(axis=None)
    assert ends[cells.topic != "c"].notna().all(axis=None)
    information = topic_information(data, null, weights)
    assert information[["low", "high", "share_low", "share_high"]].isna().all(axis=None)
    few = corpus([1, 1], 3, np.random.default_rng(5))
    two = poisson_weights(few.ids, 50, 5)
    heatmap = topic_heatmap(cells, data.topics, limit=1.0, alpha=0.05, permutations=5)
    hover = [[cell[0] for cell in line] for line in heatmap.data[0].customdata]
    assert [set(line) == {"no interval"} for line in hover] == [False, False, True]
    bars = topic_load_figure(cells, data.topics).data
    assert [bar.customdata[0][0] == "no interval" for bar in bars] == [False, False, True]
    for figure, trace in (
        (depth_figure(information, alpha=0.05), 2),
        (load_figure(expert_load(few, two)), 0),
        (balance_figure(layer_balance(few, two)), 0),
    ):
        assert "no interval" in figure.data[trace].hovertext[0]
        assert "nan" not in figure.to_json()
