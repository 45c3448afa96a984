"""Training in the report: what was dropped is shown and said, and n is that of the points drawn."""

import math
from typing import Any

import numpy as np
import pytest

from moescope.analysis.chapters.training.section import layer_panels, training_panels
from moescope.analysis.chapters.training.verdict import drop_sentences
from moescope.analysis.data.curves import TrainingCurves, training_curves
from moescope.analysis.data.design import Design
from moescope.analysis.html.page import Panel
from moescope.analysis.html.text import percent


def planted_curves(
    dropped: dict[str, tuple[float, float]], dead: int = 0, validation: bool = True
) -> TrainingCurves:
    """Three points of two layers; `dropped` is split → rate in either layer."""
    records: list[dict[str, Any]] = []
    for step in (10, 20, 30):
        for split in ("train", "validation") if validation else ("train",):
            layers = [
                {
                    "layer": layer,
                    "max_violation": 0.3,
                    "router_entropy": 1.2,
                    "dead_experts": dead,
                    "drop_rate": dropped.get(split, (0.0, 0.0))[layer] * step / 20,
                }
                for layer in (0, 1)
            ]
            record = {"split": split, "step": step, "tokens": 100 * step, "loss": 5.0}
            topics = {"a": {"loss": 4.0, "tokens": 70}, "b": {"loss": 5.0, "tokens": 30}}
            own = {"topics": topics} if split == "validation" else {}
            records.append({**record, "layers": layers, "balance": {"switch": 1.1}, **own})
    return training_curves(records)


def by_name(panels: list[Panel]) -> dict[str, Panel]:
    return {panel.name: panel for panel in panels}


def test_nothing_dropped_and_nothing_dead_is_not_drawn() -> None:
    curves = planted_curves({})
    assert set(by_name(layer_panels(curves, 8))) == {"balance-curve", "entropy-curve"}
    assert not list(drop_sentences(curves))


@pytest.mark.parametrize(("rate", "tone"), [(0.5, "warning"), (0.004, "fact")])
def test_drops_in_training_are_drawn_and_said(rate: float, tone: str) -> None:
    curves = planted_curves({"train": (rate / 2, rate)}, dead=2)
    panels = by_name(layer_panels(curves, 8))
    assert {"drop-curve", "dead-curve"} <= set(panels)
    heights = [list(line.y) for line in panels["drop-curve"].views[""].data]
    np.testing.assert_allclose(heights, np.outer([rate / 2, rate], [0.5, 1, 1.5]))
    assert "n = 3,000 training tokens in 3 points." in panels["drop-curve"].facts
    (sentence,) = drop_sentences(curves)
    assert sentence.tone == tone
    assert panels["drop-curve"].subject == sentence.subject
    assert f"{percent(rate)} of the choices in layer 1 met a full expert" in sentence.claim
    assert "In evaluation none." in sentence.evidence


def test_a_capacity_in_evaluation_alone_is_drawn_for_validation() -> None:
    panels = by_name(layer_panels(planted_curves({"validation": (0.2, 0.1)}), 8))
    assert "n = 3 points on the validation split" in panels["drop-curve"].facts


def test_n_is_that_of_the_points_and_entropy_has_its_baseline() -> None:
    design = Design(("a", "b"), (0, 1), num_experts=8, top_k=1, alpha=0.05, permutations=99)
    panels = by_name(training_panels(planted_curves({}), 6.0, design))
    assert "n = 30 to 70 predicted tokens per topic" in panels["topic-loss"].facts
    for name in ("balance-curve", "entropy-curve"):
        assert "n = 3 points on the validation split" in panels[name].facts
        assert "(100 of them predicted)" in panels[name].facts
    (line,) = panels["entropy-curve"].views[""].layout.shapes
    assert line.y0 == line.y1 == pytest.approx(math.log(design.num_experts), rel=1e-4)
    alone = by_name(training_panels(planted_curves({}, validation=False), None, design))
    assert "n = 3,000 training tokens" in alone["entropy-curve"].facts
    assert "topic-loss" not in alone
