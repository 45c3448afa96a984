"""Bootstrap intervals: what they hold, and where there is none."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from moescope.analysis.chapters.load.figures import balance_figure, load_figure, topic_load_figure
from moescope.analysis.chapters.load.measures import expert_load, layer_balance
from moescope.analysis.chapters.topics.cells import topic_expert_cells
from moescope.analysis.chapters.topics.figures import depth_figure, topic_heatmap
from moescope.analysis.chapters.topics.information import topic_information, topic_tests
from moescope.analysis.data.documents import DocumentCounts
from moescope.analysis.statistics.bootstrap import interval, poisson_weights


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


def test_documents_of_a_group_count_once() -> None:
    data = corpus([40], 4, np.random.default_rng(6))
    names = [name for name in data.ids for _ in range(5)]
    copies = replace(
        data,
        ids=[f"{name}-{row}" for row, name in enumerate(names)],
        topic_ids=np.zeros(200, dtype=np.int64),
        counts=np.repeat(data.counts, 5, axis=0),
        tokens=np.repeat(data.tokens, 5),
        masked_counts=np.repeat(data.masked_counts, 5, axis=0),
        masked_tokens=np.repeat(data.masked_tokens, 5),
        groups=names,
    )
    for measure in (expert_load, layer_balance):
        alone, together = (
            measure(corpus_, poisson_weights(corpus_.group_names, 100, 0))
            for corpus_ in (data, copies)
        )
        shown = [name for name in alone if name not in ("tokens", "documents", "documents_using")]
        pd.testing.assert_frame_equal(alone[shown], together[shown])


def test_information_below_chance_keeps_its_interval() -> None:
    below = 0
    for seed in range(12):
        data = corpus([12, 12, 12], 6, np.random.default_rng(seed))
        tests = topic_tests(data, 49, np.random.default_rng(seed))
        row = topic_information(data, tests, poisson_weights(data.ids, 200, seed)).iloc[0]
        assert row.low <= row.bits < row.high
        assert row.share_low <= row.share < row.share_high
        below += row.bits < 0
    assert below > 2


def test_two_documents_give_no_interval_and_figures_say_so() -> None:
    data = corpus([20, 20, 2], 3, np.random.default_rng(4))
    weights = poisson_weights(data.ids, 50, 4)
    tests = topic_tests(data, 5, np.random.default_rng(4))
    cells = topic_expert_cells(data, tests)
    ends = cells[["share_low", "share_high", "low", "high"]]
    assert ends[cells.topic == "c"].isna().all(axis=None)
    assert ends[cells.topic != "c"].notna().all(axis=None)
    information = topic_information(data, tests, weights)
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
