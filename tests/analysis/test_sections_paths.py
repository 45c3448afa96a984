"""The flow between layers: what is drawn is what the caption says, and labels do not touch."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from moescope.analysis.chapters.paths.figures import LABEL_HEIGHT, flow_figure
from moescope.analysis.chapters.paths.measures import layer_flow
from moescope.analysis.chapters.paths.section import (
    MOST_BANDS,
    MOST_COLUMNS,
    layer_windows,
    widest_bands,
)
from moescope.analysis.html.page import ALL_LAYERS
from moescope.analysis.html.theme import ratio_scale


def planted_flows(experts: int, layers: int) -> pd.DataFrame:
    """Flows whose widths differ between pairs of layers: the first are even, the last are not."""
    generator = np.random.default_rng(0)
    table = [
        generator.multinomial(20_000, generator.dirichlet(np.full(experts**2, 10.0 / 3**pair)))
        for pair in range(layers - 1)
    ]
    counts = np.array(table).reshape(-1, experts, experts)
    return layer_flow(counts, range(layers), generator)[0]


def test_every_pair_of_layers_keeps_its_widest_bands() -> None:
    flows = planted_flows(16, 5)
    drawn = widest_bands(flows, 0.5 / 16**2)
    for layer, own in flows.groupby("layer"):
        widest = sorted((x for x in own.share if x >= 0.5 / 16**2), reverse=True)[:MOST_BANDS]
        assert sorted(drawn[drawn.layer == layer].share, reverse=True) == widest


@pytest.mark.parametrize("layers", [2, MOST_COLUMNS, 7, 40])
def test_windows_hold_their_layer_and_every_pair_of_layers(layers: int) -> None:
    numbers = [2 * layer for layer in range(layers)]
    windows = layer_windows(numbers)
    pairs = {pair for own in windows.values() for pair in pairwise(own)}
    assert pairs == set(pairwise(numbers))
    if layers <= MOST_COLUMNS:
        assert windows == {ALL_LAYERS: numbers}
        return
    for name, own in windows.items():
        assert len(own) == MOST_COLUMNS
        assert int(name) in own


@pytest.mark.parametrize("experts", [4, 24, 64])
def test_labels_of_a_flow_do_not_touch(experts: int) -> None:
    drawn = widest_bands(planted_flows(experts, 3), 0.5 / experts**2)
    view = flow_figure(drawn)
    (sankey,) = view.data
    into, out = np.zeros(len(sankey.node.label)), np.zeros(len(sankey.node.label))
    np.add.at(out, list(sankey.link.source), list(sankey.link.value))
    np.add.at(into, list(sankey.link.target), list(sankey.link.value))
    tall = np.maximum(into, out)
    column = [int(text.split("·")[0][1:]) for text in sankey.node.customdata]
    room = view.layout.height - view.layout.margin.t - view.layout.margin.b
    sizes = pd.DataFrame({"column": column, "tall": tall}).groupby("column").tall
    scale = ((room - sankey.node.pad * (sizes.size() - 1)) / sizes.sum()).min()
    labelled = np.array([bool(label) for label in sankey.node.label])
    assert labelled.any()
    for layer in set(column):
        own = np.flatnonzero(np.array(column) == layer)
        middles = np.cumsum(scale * tall[own] + sankey.node.pad) - scale * tall[own] / 2
        assert (np.diff(middles[labelled[own]]) >= LABEL_HEIGHT - 1e-6).all()


@pytest.mark.parametrize(("largest", "limit", "told"), [(0.1, 0.5, 0), (2.0, 2.0, 0), (3.2, 3, 1)])
def test_a_scale_that_stops_says_so(largest: float, limit: float, told: bool) -> None:
    found, sentence = ratio_scale(pd.Series([0.0, -largest]))
    assert found == limit
    assert bool(sentence) == told
    assert not told or "±3" in sentence
