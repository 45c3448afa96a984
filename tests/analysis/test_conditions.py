"""E15: losses by what a masked router is told, weighed by labels, blocks resampled."""

import numpy as np
import pandas as pd
import pytest

from moescope.analysis.chapters.time.conditions import condition_losses
from moescope.analysis.chapters.time.figures import condition_figure
from moescope.analysis.data.documents import DocumentCounts
from moescope.analysis.statistics.bootstrap import poisson_weights

NAMES = ["1790-1849", "1850-1909", "1910-1969"]
NUMBER = 60


def planted(penalty: float) -> tuple[pd.DataFrame, pd.DataFrame, DocumentCounts]:
    """Documents of three periods whose loss rises by the penalty under each other period."""
    generator = np.random.default_rng(0)
    own = np.arange(NUMBER) // 20
    ids = [f"d{row:03d}" for row in range(NUMBER)]
    numbers = generator.permutation(NUMBER)
    labels = generator.integers(20, 200, NUMBER)
    base = 4 + 0.3 * generator.normal(size=NUMBER)
    told = pd.DataFrame(
        {
            "document": np.tile(numbers, 3),
            "own": np.tile(own, 3),
            "given": np.repeat(np.arange(3), NUMBER),
            "num_labels": np.tile(labels, 3),
        }
    )
    told["loss"] = np.tile(base, 3) + penalty * (told.own != told.given)
    counts = np.ones((NUMBER, 1, 2), np.int64)
    ones = np.ones(NUMBER, np.int64)
    data = DocumentCounts(
        ids, own, ("a", "b", "c"), (0,), 2, counts, ones, np.zeros_like(counts), 0 * ones
    )
    return told, pd.DataFrame({"document": numbers, "id": ids}), data


def test_perplexities_equal_a_loop_and_changes_are_paired() -> None:
    told, documents, data = planted(0.2)
    weights = poisson_weights(data.ids, 200, 0)
    groups = {name: f"o{row // 2}" for row, name in enumerate(data.ids)}
    frame = condition_losses(told, NAMES, documents, data, weights, groups)
    assert len(frame) == 9
    for row in frame.itertuples():
        cell = told[(told.own == NAMES.index(row.own)) & (told.given == NAMES.index(row.chosen))]
        mean = np.average(cell.loss, weights=cell.num_labels)
        assert row.perplexity == pytest.approx(np.exp(mean))
        assert row.low < row.perplexity < row.high
        assert row.change == pytest.approx(0.2 if row.own != row.chosen else 0)
        assert row.change_low == pytest.approx(row.change)  # the same for every document
        assert (row.documents, row.blocks) == (20, 10)
    figure = condition_figure(frame)
    assert list(figure.data[0].x) == list(figure.data[0].y) == NAMES
    assert figure.data[0].z[1][0] == pytest.approx(0.2)
    assert figure.data[0].z[1][1] == 0


def test_blocks_of_alike_documents_widen_the_interval() -> None:
    told, documents, data = planted(0.2)
    weights = poisson_weights(data.ids, 200, 0)
    rank = {number: row // 4 for row, number in enumerate(documents["document"])}
    told["loss"] += told["document"].map(rank) % 2  # what four neighbours have in common
    groups = {name: f"o{row // 4}" for row, name in enumerate(data.ids)}
    width = [
        (frame.high - frame.low).mean()
        for frame in (
            condition_losses(told, NAMES, documents, data, weights, blocks)
            for blocks in (groups, None)
        )
    ]
    assert width[0] > 1.5 * width[1]


def test_two_blocks_get_no_interval() -> None:
    told, documents, data = planted(0.2)
    weights = poisson_weights(data.ids, 50, 0)
    groups = {name: f"o{row // 10}" for row, name in enumerate(data.ids)}
    frame = condition_losses(told, NAMES, documents, data, weights, groups)
    assert frame.blocks.eq(2).all()
    assert frame[["low", "high", "change_low"]].isna().all(axis=None)


def test_other_routers_were_told_nothing() -> None:
    told, documents, data = planted(0.0)
    weights = poisson_weights(data.ids, 10, 0)
    assert condition_losses(told[:0], [], documents, data, weights, None).empty
