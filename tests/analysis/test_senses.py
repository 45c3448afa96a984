"""Senses: a planted effect is found, labels at random are not, rare senses are not judged."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from moescope.analysis.chapters.senses.measures import (
    SensesRecord,
    largest_distance,
    measure_senses,
    sense_distances,
    sense_routing,
)
from moescope.analysis.chapters.senses.section import senses_section
from moescope.analysis.chapters.senses.verdict import sense_sentences
from moescope.analysis.data.design import Design
from moescope.analysis.html.sentence import Sentence
from moescope.analysis.statistics.draws import Draws

LAYERS = (0, 3)
DESIGN = Design(("a",), LAYERS, num_experts=8, top_k=1, alpha=0.05, permutations=199)


def planted(
    generator: np.random.Generator, effect: float, texts: int = 30, token: str = "mean"
) -> tuple[pd.DataFrame, np.ndarray]:
    """Texts of two senses, one to three occurrences each; in layer 3 sense s favours expert s."""
    rows, counts = [], []
    for text in range(2 * texts):
        own = generator.normal(0, 0.7, (2, 6))  # occurrences of one text go together
        own[1, text % 2] += effect
        shares = np.exp(own) / np.exp(own).sum(-1, keepdims=True)
        for _ in range(generator.integers(1, 4)):
            rows.append((text, "", token, f"sense {text % 2}", f" {token}", 1))
            counts.append([generator.multinomial(2, p) for p in shares])
    columns = ["text", "group", "token", "sense", "spelling", "num_tokens"]
    return pd.DataFrame(rows, columns=columns), np.array(counts)


def analyse(frame: pd.DataFrame, counts: np.ndarray, seed: int = 0) -> SensesRecord:
    return sense_routing(frame, counts, LAYERS, 199, np.random.default_rng(seed))


def test_a_planted_sense_is_found_in_its_layer_alone() -> None:
    results = analyse(*planted(np.random.default_rng(1), effect=2.5))
    tokens = results.tokens.set_index("layer")
    assert tokens.loc[3, "family_p_value"] <= 0.01
    assert tokens.loc[3, "excess"] > 0.1
    assert tokens.loc[3, "distance"] > tokens.loc[3, "null_high"]
    assert tokens.loc[0, "p_value"] > 0.05
    assert abs(tokens.loc[0, "excess"]) < 0.1
    assert tokens.texts.tolist() == [60, 60]
    assert results.senses.groupby("sense").occurrences.first().sum() == tokens.occurrences[0]
    assert results.left_out.empty


def test_the_null_holds_although_occurrences_of_a_text_go_together() -> None:
    generator = np.random.default_rng(2)
    draws = 120
    p_values = []
    for _ in range(draws):
        frame, counts = planted(generator, effect=0.0, texts=20)
        results = sense_routing(frame, counts, LAYERS, 59, generator)
        p_values += results.tokens.p_value.tolist()
    rejected = np.mean(np.array(p_values) <= 0.05)
    assert rejected < 0.05 + 3 * np.sqrt(0.05 * 0.95 / len(p_values))
    assert 0.4 < np.mean(p_values) < 0.6, "uniform, not merely small"


def test_distances_equal_scipys() -> None:
    from scipy.spatial.distance import jensenshannon

    sums = np.random.default_rng(3).integers(0, 9, (3, 2, 5)).astype(float)
    shares = sums / sums.sum(-1, keepdims=True)
    expected = [
        [jensenshannon(shares[s, layer], shares[:, layer].mean(0), base=2) for layer in range(2)]
        for s in range(3)
    ]
    assert sense_distances(sums) == pytest.approx(np.array(expected))
    for senses in (2, 3, 10):
        disjoint = np.eye(senses)[:, None, :].repeat(2, axis=-1)  # two experts each, shared by none
        assert sense_distances(disjoint) == pytest.approx(largest_distance(senses))
    assert largest_distance(2) == pytest.approx(0.558, abs=1e-3)
    assert (sense_distances(np.ones((4, 2, 3))) == 0).all()


def test_rare_senses_and_other_spellings_are_left_out() -> None:
    frame, counts = planted(np.random.default_rng(4), effect=1.0)
    rare = frame.iloc[:5].assign(text=[90, 91, 92, 93, 94], sense="rare")
    capital = frame.iloc[:9].assign(text=range(100, 109), spelling=" Mean", sense="sense 0")
    lone, lone_counts = planted(np.random.default_rng(5), effect=1.0, token="order")
    lone = lone[lone.sense == "sense 1"]
    everything = pd.concat([frame, rare, capital, lone], ignore_index=True)
    together = np.concatenate([counts, counts[:14], lone_counts[: len(lone)]])
    results = analyse(everything, together)
    assert results.tokens.token.unique().tolist() == ["mean"]
    assert results.tokens.occurrences.iloc[0] == len(frame)
    assert results.left_out[["token", "sense", "occurrences"]].values.tolist() == [
        ["mean", "rare", 5],
        ["order", "sense 1", len(lone)],
    ]
    alone = analyse(frame, counts)
    pd.testing.assert_frame_equal(results.tokens, alone.tokens)


def test_nothing_to_test_gives_empty_frames() -> None:
    frame, counts = planted(np.random.default_rng(6), effect=1.0, texts=4)
    results = analyse(frame, counts)
    assert results.tokens.empty
    assert results.senses.empty
    assert len(results.left_out) == 2


def test_renumbered_experts_and_reordered_rows_change_nothing() -> None:
    frame, counts = planted(np.random.default_rng(7), effect=1.0)
    before = analyse(frame, counts).tokens
    pd.testing.assert_frame_equal(analyse(frame, counts[..., ::-1]).tokens, before)
    order = np.random.default_rng(8).permutation(len(frame))
    shuffled = analyse(frame.iloc[order].reset_index(drop=True), counts[order]).tokens
    pd.testing.assert_frame_equal(shuffled, before)


def said(senses: SensesRecord) -> list[Sentence]:
    return list(sense_sentences(senses, DESIGN))


def test_sentences_say_what_was_planted() -> None:
    (found,) = said(analyse(*planted(np.random.default_rng(9), effect=2.5)))
    assert found.tone == "finding"
    assert found.claim.startswith("“mean” is routed by sense in layer 3: distance 0.")
    assert all(part in found.evidence for part in ("60 texts", "unit:", "baseline:", "p\u00a0≤"))
    (nothing,) = said(analyse(*planted(np.random.default_rng(10), effect=0.0)))
    assert nothing.tone == "none"
    assert nothing.claim == "No evidence that the routing of “mean” depends on its sense."
    (few,) = said(analyse(*planted(np.random.default_rng(11), effect=2.5, texts=4)))
    assert few.tone == "warning"


def test_the_chapter_names_what_is_left_out_and_is_absent_without_senses() -> None:
    frame, counts = planted(np.random.default_rng(12), effect=1.0)
    few = analyse(frame[frame.text < 44], counts)
    chapter = senses_section(few, DESIGN)
    assert set(chapter.panels[0].views) == {"0", "3"}
    bar, points = chapter.panels[0].views["3"].data
    assert points.x[0] == pytest.approx(few.tokens.set_index("layer").distance[3], rel=1e-4)
    found = few.tokens.set_index("layer").family_p_value[3] <= 0.05
    assert points.marker.symbol[0] == ("circle" if found else "circle-open")
    assert bar.x[0] == pytest.approx(few.tokens.set_index("layer").null_high[3], rel=1e-4)
    rare = senses_section(analyse(frame[:30], counts), DESIGN)
    assert not rare.panels
    assert "“mean” as “sense 0”" in rare.notes[0][1]
    none = analyse(frame[:0], counts[:0])
    assert said(none) == []
    run = SimpleNamespace(
        store=SimpleNamespace(senses=frame[:0], sense_counts=counts[:0]),
        documents=SimpleNamespace(layers=LAYERS),
    )
    draws = Draws(np.random.default_rng(0), documents=1, permutations=9, weights=np.ones((1, 1)))
    assert measure_senses(run, draws) is None


def test_texts_of_a_group_count_once() -> None:
    """Five texts of one author route alike: text by text that passes for a sense."""
    rejected = {True: 0, False: 0}
    for seed in range(30):
        generator = np.random.default_rng([13, seed])
        own = np.repeat(generator.normal(0, 1.2, (24, 2, 6)), 5, axis=0)
        shares = np.exp(own) / np.exp(own).sum(-1, keepdims=True)
        counts = generator.multinomial(3, shares)
        frame = pd.DataFrame({"text": range(120), "token": "mean", "spelling": "mean"})
        frame["sense"] = [f"sense {text // 5 % 2}" for text in range(120)]
        for grouped in rejected:
            groups = [f"author {text // 5}" if grouped else "" for text in range(120)]
            found = sense_routing(frame.assign(group=groups), counts, LAYERS, 39, generator)
            assert found.tokens.groups.tolist() == [24 if grouped else 120] * 2
            assert found.tokens.texts.tolist() == [120] * 2
            rejected[grouped] += found.tokens.family_p_value.min() <= 0.05
    most = stats.binom.ppf(0.9999, 30, 0.05)
    assert rejected[True] <= most < rejected[False]
