"""Positions and special tokens: shares and entropy by hand; what has no tokens has no row."""

import numpy as np
import pytest

from moescope.analysis.chapters.position.place_figures import (
    place_entropy_figure,
    place_figure,
)
from moescope.analysis.chapters.position.places import place_routing

NAMES = [("untouched", "0–3"), ("untouched", "4–7"), ("masked", "0–3"), ("special", "[CLS]")]


def test_shares_and_entropy_by_hand() -> None:
    tokens = np.array([4, 0, 2, 1])
    counts = np.zeros((4, 2, 3), dtype=np.int64)
    counts[0, 0], counts[2, 0], counts[3, 0] = [6, 2, 0], [0, 2, 2], [1, 1, 0]
    counts[:, 1] = counts[:, 0, ::-1]
    entropy = np.log(2) * np.array([[4.0, 2.0], [0, 0], [1.0, 1.0], [0.5, 1.5]])
    frame = place_routing(counts, tokens, entropy, NAMES, [1, 5])
    assert not (frame.place == "4–7").any()
    assert len(frame) == 3 * 2 * 3
    first = frame[(frame.mask_kind == "untouched") & (frame.layer == 1)]
    assert first.share.tolist() == [1.5, 0.5, 0.0]
    assert first.entropy.tolist() == pytest.approx([1.0] * 3)
    assert frame.groupby(["mask_kind", "place", "layer"]).share.sum().tolist() == [2.0] * 6
    last = frame[(frame.place == "[CLS]") & (frame.layer == 5)]
    assert last.entropy.iloc[0] == pytest.approx(1.5)
    own = frame[frame.layer == 1]
    heatmap = place_figure(own).data[0]
    assert list(heatmap.y) == ["untouched 0–3", "[MASK] 0–3", "[CLS]"]
    assert [list(row) for row in heatmap.z] == [[1.5, 0.5, 0.0], [0.0, 1.0, 1.0], [1.0, 1.0, 0.0]]
    assert {trace.name for trace in place_entropy_figure(own).data} == {
        "untouched",
        "[MASK]",
        "special",
    }


def test_a_store_without_them_gives_an_empty_frame() -> None:
    empty = np.zeros((0, 2, 3))
    assert place_routing(empty, np.zeros(0), np.zeros((0, 2)), [], [1, 5]).empty
