"""E5 and E6: topics routed alike stand together; the probe finds only topics that are there."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from moescope.analysis.chapters.topic_classifier.measures import (
    ProbeInput,
    balanced_accuracy,
    predicted_topics,
    probe_folds,
    routing_features,
    signature_probe,
    token_features,
    topics_over_origins,
)
from moescope.analysis.chapters.topic_map.measures import document_points, topic_map, topic_order
from moescope.analysis.statistics.bootstrap import poisson_weights
from moescope.analysis.statistics.information import divergence_bits
from moescope.analysis.statistics.permutations import document_orders, permuted_topics

from .samples import PlantedTokens, document_choices, planted_sample
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


def probe_of(plan: PlantedTokens, seed: int) -> ProbeInput:
    generator = np.random.default_rng(seed)
    sample = planted_sample(plan, generator)
    folds = probe_folds([str(row) for row in sample.rows], generator)
    features = routing_features(document_choices(sample))
    return ProbeInput(features, token_features(sample), sample.topic_ids, folds)


def read(plan: PlantedTokens, seed: int = 0) -> dict[str, dict[str, float]]:
    probe = probe_of(plan, seed)
    orders = document_orders(np.random.default_rng(1), len(probe.topic_ids), 19)
    weights = poisson_weights([str(i) for i in range(len(probe.topic_ids))], 50, 0)
    permuted = permuted_topics(orders, probe.topic_ids)
    frame = signature_probe(probe, permuted, weights, len(probe.topic_ids))
    return {row["reader"]: row for row in frame.to_dict("records")}


def test_experts_add_to_tokens_only_where_there_is_context() -> None:
    context = read(PlantedTokens(context=1.5))
    assert context["experts"]["accuracy"] > 0.7 > 0.45 > context["tokens"]["accuracy"]
    assert context["both"]["gain_low"] > 0.2
    assert context["experts"]["p_value"] == 1 / 20
    words = read(PlantedTokens(vocabulary=1.0))
    assert words["tokens"]["accuracy"] > 0.9
    assert words["both"]["gain"] < 0.05
    nothing = read(PlantedTokens())
    assert nothing["experts"]["accuracy"] < 0.45
    assert nothing["experts"]["low"] <= nothing["experts"]["accuracy"]
    assert nothing["experts"]["accuracy"] <= nothing["experts"]["high"]


def test_origins_never_straddle_folds_and_no_document_judges_itself() -> None:
    groups = [f"origin {i // 3}" for i in range(60)]
    folds = probe_folds(groups, np.random.default_rng(0))
    assert all(len(set(folds[i : i + 3])) == 1 for i in range(0, 60, 3))
    topics = np.arange(60) % 2
    # a feature that names the document cannot be learned from other documents
    found = predicted_topics(np.eye(60), topics[None], folds)[0] == topics
    assert balanced_accuracy(found, topics) < 0.7


def test_topics_are_shuffled_over_whole_origins() -> None:
    topics = np.repeat([0, 0, 1, 1, 2], 4)
    origins = [f"origin {number // 4}" for number in range(20)]
    orders = document_orders(np.random.default_rng(0), 20, 50)
    permuted = topics_over_origins(origins, topics, orders)
    together = permuted.reshape(50, 5, 4)
    assert (together == together[..., :1]).all()
    assert (np.sort(together[..., 0]) == [0, 0, 1, 1, 2]).all()
    assert len(np.unique(permuted, axis=0)) > 10
    alone = topics_over_origins(list(range(20)), topics, orders)
    assert (alone == permuted_topics(orders, topics)).all()


def test_one_origin_is_no_probe() -> None:
    probe = probe_of(PlantedTokens(), 0)
    folds = probe_folds(["the one"] * len(probe.topic_ids), np.random.default_rng(0))
    weights = np.zeros((0, len(folds)), np.float32)
    assert signature_probe(replace(probe, folds=folds), probe.topic_ids[None], weights, 1).empty


def test_balanced_accuracy_weighs_topics_equally() -> None:
    topics = np.array([0] * 9 + [1])
    assert balanced_accuracy((topics == 0).astype(float), topics) == 0.5
