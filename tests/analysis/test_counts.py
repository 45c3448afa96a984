"""Counts that were recorded elsewhere give the records of a report."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from moescope.analysis import RunData, from_counts, measure_chapters
from moescope.analysis.chapters import load, topics
from moescope.analysis.data.documents import document_counts
from moescope.analysis.data.token_types import TypeCounts
from moescope.analysis.statistics.information import information_bits
from moescope.configs.compose import compose_config
from moescope.configs.errors import UserError
from moescope.inference.store.reader import RoutingStore

from .stores import Planted, write_store


def test_documents_give_what_a_store_gives(tmp_path: Path) -> None:
    store = RoutingStore.open(write_store(tmp_path, Planted(effect=1.0), np.random.default_rng(0)))
    data = document_counts(store)
    names = [data.topics[topic] for topic in data.topic_ids]
    records = from_counts(data.counts, names, tokens=data.tokens, layers=data.layers)
    settings = compose_config(["report.permutations=999", "report.bootstrap=200"]).report
    wanted = measure_chapters(RunData(store, settings, 0), [topics.CHAPTER, load.CHAPTER])
    own, other = records["topics"].information, wanted["topics"].information
    exact = ["bits", "plug_in_bits", "groups", "tokens", "band", "topics", "max_bits"]
    pd.testing.assert_frame_equal(own[exact], other[exact])
    assert ((own.family_p_value <= 0.05) == (other.family_p_value <= 0.05)).all()
    columns = ["topic", "layer", "expert", "share", "low", "high", "family_low"]
    pd.testing.assert_frame_equal(records["topics"].cells[columns], wanted["topics"].cells[columns])
    shares = ["layer", "expert", "share", "tokens", "dead"]
    pd.testing.assert_frame_equal(records["load"].load[shares], wanted["load"].load[shares])


def test_one_row_per_topic_gives_plug_in_values_and_neither_band_nor_p() -> None:
    generator = np.random.default_rng(0)
    shares = generator.dirichlet(np.ones(4), (3, 2))
    counts = generator.multinomial(np.array([[900], [90], [300]]), shares)
    information = from_counts(counts, ["a", "b", "c"])["topics"].information
    assert information.bits.tolist() == pytest.approx(information_bits(counts).tolist())
    assert information.plug_in_bits.tolist() == pytest.approx(information.bits.tolist())
    assert set(information.band) == {"none"}
    unknown = ["p_value", "family_p_value", "q_value", "low", "high", "detectable_bits"]
    assert information[unknown].isna().all(axis=None)
    assert not information.absent.any()
    cells = from_counts(counts, ["a", "b", "c"])["topics"].cells
    assert cells[["p_value", "low", "family_low", "share_high"]].isna().all(axis=None)
    exact = (counts / counts.sum(axis=-1, keepdims=True)).ravel()
    assert cells.share.tolist() == pytest.approx(exact.tolist())


def test_token_types_give_the_vocabulary_by_both_definitions() -> None:
    generator = np.random.default_rng(1)
    tokens = np.array([50, 2, 1, 30])
    counts = np.stack([generator.multinomial(n, [0.5, 0.3, 0.2]) for n in tokens])[:, None]
    types = TypeCounts(["a", "b", "c", "d"], tokens, counts)
    records = from_counts(counts.sum(axis=0)[None], ["all"], token_types=types)
    row = records["vocabulary"].vocabulary.iloc[0]
    largest = counts[:, 0].max(axis=1)
    assert row.unweighted == pytest.approx(np.mean(largest / tokens))
    assert row.observed == pytest.approx(largest[[0, 3]].sum() / 80)
    assert (row.types, row.all_types) == (2, 4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"counts": np.ones((2, 3))}, "shape"),
        ({"counts": np.ones((2, 1, 3))}, "whole numbers"),
        ({"topics": ["a"]}, "topics: 1 given, 2 are needed"),
        ({"groups": ["a", "b", "c"]}, "groups: 3 given, 2 are needed"),
        ({"layers": [0, 1]}, "layers: 2 given, 1 are needed"),
        ({"tokens": np.zeros(2)}, "no row has a token"),
    ],
)
def test_arguments_that_do_not_fit_are_told(arguments: dict[str, object], words: str) -> None:
    given = {"counts": np.ones((2, 1, 3), np.int64), "topics": ["a", "b"], **arguments}
    with pytest.raises(UserError, match=words):
        from_counts(given.pop("counts"), given.pop("topics"), **given)
