"""E5: topics routed alike stand together."""

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from moescope.analysis.chapters.topic_map.measures import document_points, topic_map, topic_order
from moescope.analysis.statistics.information import divergence_bits

from .stores import Planted
from .test_information import from_plan


def test_divergence_equals_scipy() -> None:
    shares = np.random.default_rng(0).dirichlet(np.ones(6), (2, 5))
    for first, second, found in zip(*shares, divergence_bits(*shares), strict=True):
        assert found == pytest.approx(jensenshannon(first, second, base=2) ** 2)


def test_equal_topics_are_as_near_as_halves_of_one() -> None:
    frame = topic_map(from_plan(Planted(effect=1.5), 0), np.random.default_rng(0))
    by_layer = frame.groupby("layer").ratio
    assert by_layer.mean()[0] == pytest.approx(1, abs=0.2)
    assert by_layer.min()[2] > 1.5
    one = frame[(frame.topic == "arrays") & (frame.other == "plots")].ratio.tolist()
    other = frame[(frame.topic == "plots") & (frame.other == "arrays")].ratio.tolist()
    assert one == other


def test_topics_that_share_an_expert_stand_side_by_side() -> None:
    names = ("a", "x", "b", "y")  # 2 experts: a and b favour the first, x and y the second
    plan = Planted(topics=names, effect=2.0, experts=2, effect_layers=(0, 1))
    order = topic_order(topic_map(from_plan(plan, 0), np.random.default_rng(0)))
    assert {frozenset(order[:2]), frozenset(order[2:])} == {frozenset("ab"), frozenset("xy")}


def test_points_of_a_topic_lie_together() -> None:
    points = document_points(from_plan(Planted(effect=2.5), 0), np.random.default_rng(0))
    loud = points[points.layer == 2]
    centres = loud.groupby("topic")[["x", "y"]].transform("mean")
    apart = ((loud[["x", "y"]] - loud[["x", "y"]].mean()) ** 2).to_numpy().sum()
    inside = ((loud[["x", "y"]] - centres) ** 2).to_numpy().sum()
    assert inside < 0.4 * apart
    assert loud.x_share.iloc[0] > loud.y_share.iloc[0] > 0
