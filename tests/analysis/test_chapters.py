"""Chapters: each by itself, whatever others there are; all of them in every output."""

import numpy as np
import pandas as pd
import pytest

from moescope.analysis.chapters import CHAPTERS, measure_chapters
from moescope.analysis.chapters.chapter import Chapter
from moescope.analysis.data.run import RunData
from moescope.inference.store.reader import RoutingStore

from .runs import run_of
from .stores import Planted, write_store


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunData:
    folder = tmp_path_factory.mktemp("store")
    store = write_store(folder, Planted(effect=1.0), np.random.default_rng(0))
    return run_of(RoutingStore.open(store), "report.bootstrap=10")


def frames(record: object) -> dict[str, pd.DataFrame]:
    return {k: v for k, v in vars(record).items() if isinstance(v, pd.DataFrame)}


def test_adding_or_leaving_out_a_chapter_changes_no_number_of_another(run: RunData) -> None:
    whole = measure_chapters(run)
    used = {place.split(".")[0] for chapter in CHAPTERS for place in chapter.uses.values()}
    greedy = Chapter(name="greedy", measure=lambda run, draws: draws.orders)
    fewer = measure_chapters(run, [greedy, *(c for c in CHAPTERS if c.name in used)])
    assert len(fewer) < len(whole)
    for name in fewer.keys() - {"greedy"}:
        for column, frame in frames(fewer[name]).items():
            pd.testing.assert_frame_equal(frame, frames(whole[name])[column])


def test_two_chapters_of_other_names_draw_other_numbers(run: RunData) -> None:
    first, second = (Chapter(name=n, measure=lambda run, draws: draws.orders) for n in "ab")
    records = measure_chapters(run, [first, second])
    assert not np.array_equal(records["a"], records["b"])
    again = measure_chapters(run, [second])
    np.testing.assert_array_equal(records["b"], again["b"])


def test_what_a_chapter_uses_is_given_or_none(run: RunData) -> None:
    def measure(run: RunData, draws: object, cells: pd.DataFrame | None) -> tuple[bool]:
        return (cells is None,)

    asks = Chapter(name="asks", measure=measure, uses={"cells": "topics.cells"})
    topics = [chapter for chapter in CHAPTERS if chapter.name == "topics"]
    assert measure_chapters(run, [*topics, asks])["asks"] == (False,)
    assert measure_chapters(run, [asks])["asks"] == (True,)


def test_a_chapter_uses_only_earlier_ones() -> None:
    seen: set[str] = set()
    for chapter in CHAPTERS:
        assert {place.split(".")[0] for place in chapter.uses.values()} <= seen, chapter.name
        assert chapter.name not in seen
        seen.add(chapter.name)
