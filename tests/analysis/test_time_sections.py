"""The chapters Checkpoints and Time, and their sentences, on a store that has both."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from moescope.analysis.chapters import Records, write_verdict
from moescope.analysis.chapters.checkpoints.section import checkpoints_section
from moescope.analysis.chapters.time.conditions import condition_losses
from moescope.analysis.chapters.time.section import time_section
from moescope.analysis.data.run import RunData
from moescope.analysis.html.page import Section
from moescope.inference.store.reader import RoutingStore

from .runs import measure, run_of
from .stores import Planted, write_store
from .test_conditions import NAMES, planted

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunData:
    folder: Path = tmp_path_factory.mktemp("store")
    store = RoutingStore.open(write_store(folder, Planted(), np.random.default_rng(0)))
    documents = store.documents
    years = [date(1900 + row % 40, 1, 1) for row in range(len(documents))]
    tokens = documents["num_untouched"].to_numpy()
    saturation = pd.DataFrame(
        [
            {"step": step, "layer": layer, "document": number, "shared": share * n, "chosen": n}
            for step, share in ((10, 0.4), (20, 1.0))
            for layer in store.layers
            for number, n in zip(documents["document"], tokens, strict=True)
        ]
    )
    dated = replace(store, documents=documents.assign(date=years), saturation=saturation)
    return run_of(dated)


@pytest.fixture(scope="module")
def records(run: RunData) -> Records:
    return measure(run, "checkpoints", "time")


def check(section: Section) -> None:
    for panel in section.panels:
        assert all(word in panel.facts for word in ("n = ", "Unit: ", "Baseline: "))
        assert len(panel.table)
        for view in panel.views.values():
            assert HOSTILE not in view.to_json()


def test_checkpoints_and_time_have_their_figures_and_sentences(
    run: RunData, records: Records
) -> None:
    checkpoints = checkpoints_section(records["checkpoints"], run.design)
    time = time_section(records["time"], run.design)
    check(checkpoints)
    check(time)
    assert "settled by step 20" in checkpoints.lead
    assert [panel.name for panel in time.panels] == ["time"]
    assert set(time.panels[0].views) == {"0", "2"}
    verdict = {sentence.subject: sentence for sentence in write_verdict(records, run.design)}
    assert "settled by step 20" in verdict["checkpoints"].claim
    assert verdict["time"].tone == "none"
    assert "No evidence that the routing of any layer changes with time" in verdict["time"].claim


def test_a_masked_router_adds_its_losses_and_may_stand_without_dates(
    run: RunData, records: Records
) -> None:
    told, documents, data = planted(0.2)
    weights = np.ones((20, len(data.ids)), np.float32)
    names = [HOSTILE, *NAMES[1:]]
    losses = condition_losses(told, names, documents, data, weights, None)
    both = replace(records["time"], conditions=losses)
    time = time_section(both, run.design)
    check(time)
    assert [panel.name for panel in time.panels] == ["time", "time-perplexity"]
    alone = time_section(replace(both, time=None), run.design)
    assert alone.title == "Told another value"


def test_neither_dates_nor_snapshots(tmp_path: Path) -> None:
    store = RoutingStore.open(write_store(tmp_path, Planted(), np.random.default_rng(0)))
    run = run_of(store)
    records = measure(run, "checkpoints", "time")
    assert set(records) == {"checkpoints"}
    section = checkpoints_section(records["checkpoints"], run.design)
    assert section.panels == []
    assert section.notes
    subjects = {sentence.subject for sentence in write_verdict(records, run.design)}
    assert not subjects & {"time", "checkpoints"}
