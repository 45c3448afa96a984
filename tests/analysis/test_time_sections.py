"""The chapters Checkpoints and Time, and their sentences, on a store that has both."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from moescope.analysis import analyse_routing
from moescope.analysis.chapters.checkpoints.section import checkpoints_section
from moescope.analysis.chapters.time.conditions import condition_losses
from moescope.analysis.chapters.time.section import time_sections
from moescope.analysis.html.page import Section
from moescope.analysis.results import RoutingResults
from moescope.analysis.verdict import write_verdict
from moescope.configs.compose import compose_config
from moescope.inference.store.reader import RoutingStore

from .stores import Planted, write_store
from .test_conditions import NAMES, planted

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> RoutingResults:
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
    settings = compose_config(["report.permutations=99", "report.probe_permutations=19"]).report
    return analyse_routing(dated, settings, 0)


def check(section: Section) -> None:
    for panel in section.panels:
        assert all(word in panel.facts for word in ("n = ", "Unit: ", "Baseline: "))
        assert len(panel.table)
        for view in panel.views.values():
            assert HOSTILE not in view.to_json()


def test_checkpoints_and_time_have_their_figures_and_sentences(results: RoutingResults) -> None:
    checkpoints, (time,) = checkpoints_section(results), time_sections(results)
    check(checkpoints)
    check(time)
    assert "settled by step 20" in checkpoints.lead
    assert [panel.name for panel in time.panels] == ["time"]
    assert set(time.panels[0].views) == {"0", "2"}
    verdict = {sentence.subject: sentence for sentence in write_verdict(results, None, [])}
    assert "settled by step 20" in verdict["checkpoints"].claim
    assert verdict["time"].tone == "none"
    assert "No evidence that the routing of any layer changes with time" in verdict["time"].claim


def test_a_masked_router_adds_its_losses_and_may_stand_without_dates(
    results: RoutingResults,
) -> None:
    told, documents, data = planted(0.2)
    weights = np.ones((20, len(data.ids)), np.float32)
    names = [HOSTILE, *NAMES[1:]]
    losses = condition_losses(told, names, documents, data, weights, None)
    both = replace(results, structure=replace(results.structure, conditions=losses))
    (time,) = time_sections(both)
    check(time)
    assert [panel.name for panel in time.panels] == ["time", "time-perplexity"]
    (alone,) = time_sections(replace(both, structure=replace(both.structure, time=None)))
    assert alone.title == "Told another value"


def test_neither_dates_nor_snapshots(results: RoutingResults) -> None:
    nothing = replace(
        results.structure, time=None, saturation=results.structure.saturation.iloc[:0]
    )
    plain = replace(results, structure=nothing)
    assert time_sections(plain) == []
    assert checkpoints_section(plain).panels == []
    assert checkpoints_section(plain).notes
    subjects = {sentence.subject for sentence in write_verdict(plain, None, [])}
    assert not subjects & {"time", "checkpoints"}
