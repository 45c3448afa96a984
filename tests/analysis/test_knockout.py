"""E13: a planted loss is found in its topic, and nowhere else."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from moescope.analysis.chapters.knockout.measures import (
    KnockoutLosses,
    knockout_effects,
    resampled_t,
    specificity_statistics,
)
from moescope.analysis.statistics.bootstrap import poisson_weights

TOPICS = ("arrays", "graphs", "plots")


def planted(own: float, everywhere: float, seed: int, documents: int = 20) -> pd.DataFrame:
    """Expert (1, t) is chosen for topic t; 20 controls cost nothing; only arrays are harmed."""
    generator = np.random.default_rng(seed)
    topic_ids = np.repeat(np.arange(3), documents)
    experts = [(1, expert) for expert in range(23)]
    changes = generator.normal(0, 0.1, (23, len(topic_ids)))
    changes[0] += everywhere
    changes[0, topic_ids == 0] += own
    losses = KnockoutLosses(experts, changes, topic_ids, TOPICS)
    chosen = pd.DataFrame({"layer": 1, "expert": [0, 1, 2], "load": 0.1, "topic_id": [0, 1, 2]})
    controls = pd.DataFrame(experts[3:], columns=["layer", "expert"]).assign(load=0.1)
    weights = poisson_weights([str(i) for i in range(len(topic_ids))], 100, 0)
    return knockout_effects(losses, chosen, controls, weights, 199, generator)


def one_control(expert: int) -> pd.DataFrame:
    return pd.DataFrame({"layer": [0], "expert": [expert], "load": [0.1]})


def test_a_specific_loss_is_found_under_its_topic() -> None:
    frame = planted(own=0.3, everywhere=0.0, seed=0)
    harmed, *rest = frame.to_dict("records")
    assert harmed["topic"] == "arrays"
    assert harmed["p_value"] == harmed["specificity_p_value"] == 1 / 200
    assert harmed["low"] < 0.3 < harmed["high"]
    assert harmed["effect"] > harmed["control_high"] > harmed["control_low"]
    assert harmed["specificity"] == pytest.approx(harmed["effect"] - harmed["other_effect"])
    assert min(row["p_value"] for row in rest) > 0.05


def test_a_loss_everywhere_is_an_effect_but_not_specific() -> None:
    harmed = planted(own=0.0, everywhere=0.3, seed=1).to_dict("records")[0]
    assert harmed["p_value"] == 1 / 200
    assert harmed["specificity_p_value"] > 0.05


def test_null_is_rejected_as_often_as_announced() -> None:
    frames = [planted(0.0, 0.0, 10 + seed) for seed in range(60)]
    for name in ("p_value", "specificity_p_value"):
        smallest = np.array([frame[name].min() for frame in frames])
        assert (smallest <= 0.05).sum() <= stats.binom.ppf(0.9999, 60, 0.05)


@pytest.mark.parametrize("side", [-1, 1])
def test_skewed_losses_are_not_rejected_too_often(side: int) -> None:
    smallest = []
    for corpus in range(100):
        generator = np.random.default_rng([5, corpus])
        changes = side * (generator.gamma(1.0, 0.1, (4, 60)) - 0.1)
        losses = KnockoutLosses([(0, e) for e in range(4)], changes, np.arange(60) % 3, TOPICS)
        chosen = pd.DataFrame({"layer": 0, "expert": [0, 1, 2], "load": 0.1, "topic_id": [0, 1, 2]})
        weights = np.zeros((0, 60), np.float32)
        frame = knockout_effects(losses, chosen, one_control(3), weights, 39, generator)
        smallest.append(frame.p_value.min())
    assert np.sum(np.array(smallest) <= 0.05) <= stats.binom.ppf(0.9999, 100, 0.05)


def test_an_expert_without_effect_anywhere_is_no_finding() -> None:
    losses = KnockoutLosses([(0, 0), (0, 1)], np.zeros((2, 60)), np.arange(60) % 3, TOPICS)
    chosen = pd.DataFrame({"layer": 0, "expert": [0], "load": 0.1, "topic_id": [0]})
    weights = np.zeros((0, 60), np.float32)
    frame = knockout_effects(losses, chosen, one_control(1), weights, 39, np.random.default_rng(0))
    assert frame.p_value[0] == frame.specificity_p_value[0] == 1


def test_statistics_equal_scipy() -> None:
    generator = np.random.default_rng(0)
    changes = generator.normal(0.1, 1, (2, 12))
    rows = generator.integers(0, 12, (3, 12))
    draws = np.stack([np.bincount(row, minlength=12) for row in rows])
    found, null = resampled_t(changes, draws)
    assert found == pytest.approx(stats.ttest_1samp(changes, 0, axis=1).statistic)
    for row, statistics in zip(rows, null, strict=True):
        again = stats.ttest_1samp(changes[:, row], changes.mean(axis=1)[:, None], axis=1)
        assert statistics == pytest.approx(again.statistic.ravel())
    topic_ids = np.repeat([0, 1], [5, 7])
    losses = KnockoutLosses([(0, 0), (0, 1)], changes, topic_ids, ("a", "b"))
    welch = stats.ttest_ind(changes[:, :5], changes[:, 5:], axis=1, equal_var=False).statistic
    assert specificity_statistics(losses, topic_ids[None])[0, 0] == pytest.approx(welch)


def test_controls_tell_their_loads_beside_the_chosen_ones() -> None:
    frame = planted(own=0.3, everywhere=0.0, seed=0)
    assert (frame.load == frame.control_load_low).all()
    assert (frame.control_load_high == 0.1).all()


def test_few_documents_get_no_p_value() -> None:
    assert planted(0.3, 0.0, 0, documents=9).p_value.isna().all()


def test_two_documents_of_a_topic_give_no_interval() -> None:
    frame = planted(own=0.3, everywhere=0.0, seed=0, documents=2)
    ends = ["low", "high", "specificity_low", "specificity_high"]
    assert frame[ends].isna().all(axis=None)
    assert planted(0.3, 0.0, seed=0, documents=3)[ends].notna().all(axis=None)
