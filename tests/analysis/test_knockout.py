"""E13: a planted loss is found in its topic and among its controls, and nowhere else."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from moescope.analysis.chapters.knockout.figures import knockout_figure
from moescope.analysis.chapters.knockout.measures import (
    KnockoutLosses,
    KnockoutRecord,
    control_strata,
    knockout_effects,
    knockout_losses,
)
from moescope.analysis.chapters.knockout.verdict import knockout_sentences
from moescope.analysis.data.design import Design
from moescope.analysis.data.documents import DocumentCounts
from moescope.analysis.html.sentence import Sentence

TOPICS = ("arrays", "graphs", "plots")
DESIGN = Design(TOPICS, (1,), 29, 1, 0.05, 199)
CONTROLS = 26


def planted(
    own: float = 0.0,
    everywhere: float = 0.0,
    controls: float = 0.0,
    seed: int = 0,
    groups: int = 20,
    number: int = CONTROLS,
) -> pd.DataFrame:
    """Expert (1, t) is chosen for topic t; each other costs a topic of its own so much more.

    Args:
        own: what arrays lose with the expert chosen for them.
        everywhere: what all topics lose with it.
        controls: what each control costs the topic that needs it.
        seed: of the losses.
        groups: of each topic.
        number: of controls.
    """
    generator = np.random.default_rng(seed)
    topic_ids = np.repeat(np.arange(3), groups)
    changes = generator.normal(0, 0.1, (3 + number, len(topic_ids)))
    changes[0] += everywhere + own * (topic_ids == 0)
    for expert in range(3, 3 + number):
        changes[expert] += controls * (topic_ids == expert % 3)
    losses = KnockoutLosses(
        [(1, x) for x in range(3 + number)], changes, topic_ids, TOPICS, np.full(3, groups)
    )
    chosen = pd.DataFrame({"layer": 1, "expert": [0, 1, 2], "topic_id": [0, 1, 2]})
    frame = knockout_effects(losses, chosen, 199, generator)
    return frame.assign(load=0.1, control_load_low=0.05, control_load_high=0.2)


def said(frame: pd.DataFrame) -> Sentence:
    (sentence,) = knockout_sentences(KnockoutRecord(frame, pd.DataFrame()), DESIGN)
    return sentence


def test_a_specific_loss_is_found_under_its_topic() -> None:
    frame = planted(own=0.3)
    harmed, *rest = frame.to_dict("records")
    assert harmed["topic"] == "arrays"
    assert harmed["p_value"] == harmed["specificity_p_value"] == 1 / 200
    assert harmed["control_p_value"] <= 0.08
    assert harmed["low"] < 0.3 < harmed["high"]
    assert harmed["specificity_low"] < 0.3 < harmed["specificity_high"]
    assert harmed["specificity"] > harmed["control_high"] > harmed["control_low"]
    assert harmed["specificity"] == pytest.approx(harmed["effect"] - harmed["other_effect"])
    assert harmed["controls"] == CONTROLS
    assert harmed["control_smallest_p"] == pytest.approx(1 / (CONTROLS + 3))
    assert min(row["specificity_p_value"] for row in rest) > 0.05


def test_means_and_specificity_equal_a_loop() -> None:
    generator = np.random.default_rng(3)
    topic_ids = np.array([0] * 4 + [1] * 6 + [2] * 5)
    changes = generator.normal(size=(6, 15))
    losses = KnockoutLosses([(0, x) for x in range(6)], changes, topic_ids, TOPICS, np.ones(3))
    chosen = pd.DataFrame({"layer": 0, "expert": [4], "topic_id": [1]})
    (row,) = knockout_effects(losses, chosen, 19, generator).to_dict("records")
    means = np.array([[changes[x, topic_ids == t].mean() for t in range(3)] for x in range(6)])
    special = means[:, 1] - (means[:, 0] + means[:, 2]) / 2
    assert row["effect"] == pytest.approx(means[4, 1])
    assert row["specificity"] == pytest.approx(special[4])
    others = np.delete(special, 4)
    assert row["control_specificity"] == pytest.approx(others.mean())
    assert row["control_high"] == pytest.approx(np.quantile(others, 0.975))


def family(seed: int, tail: float) -> pd.DataFrame:
    """Chosen experts like their controls: each costs each topic something of its own."""
    generator = np.random.default_rng([4, seed])
    topic_ids, number = np.repeat(np.arange(4), 15), 24
    needs = generator.pareto(tail, (number, 4)) * np.array([0.02, 0.05, 0.1, 0.2])
    changes = needs[:, topic_ids] + generator.normal(0, 0.05, (number, 60))
    experts = [(0, x) for x in range(number)]
    losses = KnockoutLosses(experts, changes, topic_ids, tuple("abcd"), np.full(4, 15))
    chosen = pd.DataFrame({"layer": 0, "expert": range(4), "topic_id": range(4)})
    return knockout_effects(losses, chosen, 99, generator).assign(
        load=0.1, control_load_low=0.1, control_load_high=0.1
    )


def test_chosen_experts_like_their_controls_are_no_finding() -> None:
    findings = 0
    for seed in range(40):
        frame = family(seed, 3.0)
        findings += said(frame).tone == "finding"
        assert np.isfinite(frame.control_p_value).all()
    assert findings <= stats.binom.ppf(0.9999, 40, 0.05)


def test_documents_of_a_group_count_once() -> None:
    """Four groups of five documents a topic: no p. Twelve of five: five per cent."""
    generator = np.random.default_rng(5)
    smallest = []
    for groups in [4] + [12] * 20:
        number = 3 * groups * 5
        ids = [f"d{row:04d}" for row in range(number)]
        own = np.repeat(generator.normal(0, 0.2, (23, 3 * groups)), 5, axis=1)
        changes = own + generator.normal(0, 0.05, own.shape)
        frame = pd.DataFrame(
            {
                "layer": 1,
                "expert": np.repeat(np.arange(23), number),
                "document": np.tile(np.arange(number), 23),
                "loss_change": changes.ravel(),
            }
        )
        documents = pd.DataFrame({"document": np.arange(number), "id": ids})
        names = [f"g{row // 5}" for row in range(number)]
        losses = knockout_losses(frame, documents, corpus(ids, groups), names)
        assert losses.changes.shape == (23, 3 * groups)
        np.testing.assert_allclose(losses.changes[2, 1], changes[2, 5:10].mean())
        chosen = pd.DataFrame({"layer": 1, "expert": [0, 1, 2], "topic_id": [0, 1, 2]})
        found = knockout_effects(losses, chosen, 99, generator)
        if groups == 4:
            assert found.p_value.isna().all()
            assert found.specificity_p_value.isna().all()
            assert found.low.notna().all()
            tone = said(found.assign(load=0.1, control_load_low=0.1, control_load_high=0.1)).tone
            assert tone == "warning"
        else:
            smallest.append(min(found.p_value.min(), found.specificity_p_value.min()))
    assert np.sum(np.array(smallest) <= 0.05) <= stats.binom.ppf(0.9999, 20, 0.1)


def corpus(ids: list[str], groups: int) -> DocumentCounts:
    nothing = np.zeros((len(ids), 1, 23), np.int64)
    tokens = np.ones(len(ids), np.int64)
    topic_ids = np.repeat(np.arange(3), 5 * groups)
    return DocumentCounts(ids, topic_ids, TOPICS, (1,), 1, nothing, tokens, nothing, tokens)


def test_small_layers_join() -> None:
    layers, chosen = np.repeat([3, 5, 7], [25, 8, 7]), np.zeros(40, dtype=bool)
    chosen[[0, 25, 33]] = True
    controls = control_strata(layers, chosen)
    assert [len(set(controls.strata[layers == layer])) for layer in (3, 5, 7)] == [1, 1, 1]
    assert controls.strata[25] == controls.strata[33] != controls.strata[0]
    assert controls.scales[25] != controls.scales[33], "each layer has a scale of its own"
    tiny = control_strata(layers[:35], chosen[:35])
    assert tiny.scales[25] == tiny.scales[33], "of two experts there is no scale"


@pytest.mark.parametrize(
    ("facts", "tone", "says"),
    [
        ({"own": 0.4}, "finding", "with control experts topics differ less"),
        ({"own": 0.4, "controls": 0.5}, "fact", "no evidence that it does so more than control"),
        ({"own": 0.4, "number": 6}, "fact", "cannot be told from 6 control experts"),
        ({"everywhere": 0.4}, "none", "losing L1·E0 harms the topic that prefers it"),
        ({}, "none", "No evidence that any topic needs the expert it prefers."),
        ({"own": 0.4, "groups": 9}, "warning", "measured on only 9 groups"),
    ],
)
def test_sentences_say_what_was_planted(facts: dict[str, float], tone: str, says: str) -> None:
    sentence = said(planted(seed=7, **facts))
    assert sentence.tone == tone
    assert says in sentence.claim
    assert "alike" not in sentence.claim


def test_an_expert_without_effect_anywhere_is_no_finding() -> None:
    topic_ids = np.arange(60) % 3
    losses = KnockoutLosses([(0, 0), (0, 1)], np.zeros((2, 60)), topic_ids, TOPICS, np.full(3, 20))
    chosen = pd.DataFrame({"layer": 0, "expert": [0], "topic_id": [0]})
    (row,) = knockout_effects(losses, chosen, 39, np.random.default_rng(0)).to_dict("records")
    assert row["p_value"] == row["specificity_p_value"] == row["control_p_value"] == 1


def test_two_groups_of_a_topic_give_no_interval() -> None:
    ends = ["low", "high", "specificity_low", "specificity_high"]
    assert planted(own=0.3, groups=2)[ends].isna().all(axis=None)
    assert planted(own=0.3, groups=3)[ends].notna().all(axis=None)


def test_the_figure_shows_specificity_beside_that_of_controls() -> None:
    frame = planted(own=0.3)
    controls, _, points = knockout_figure(frame, 199).data
    np.testing.assert_allclose(points.x, frame.specificity, rtol=1e-3)
    np.testing.assert_allclose(controls.base, frame.control_low, rtol=1e-3)
