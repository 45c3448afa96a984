"""E8–E11: pairs, flow, neighbours and confidence against enumerations and planted patterns."""

from dataclasses import replace
from itertools import combinations
from math import prod

import numpy as np
import pytest

from moescope.analysis.chapters.confidence.measures import confidence
from moescope.analysis.chapters.paths.locality import locality
from moescope.analysis.chapters.paths.measures import (
    coactivation_pairs,
    layer_flow,
    pair_baseline,
    set_sizes,
)

from .samples import PlantedTokens, planted_sample


@pytest.mark.parametrize(
    "sizes", [[0, 0, 1], [0, 0, 0, 1], [0.1, 0.3, 0.6], [0, 0.1, 0.2, 0.7], [0.2, 0.1, 0.3, 0.4]]
)
def test_baseline_equals_the_enumeration_of_all_sets(sizes: list[float]) -> None:
    weights = np.array([0.3, 1.0, 1.5, 4.0, 0.7])
    joint = np.zeros((5, 5))
    for size, share in enumerate(sizes):
        sets = list(combinations(range(5), size))
        odds = np.array([prod(weights[list(chosen)]) for chosen in sets], dtype=float)
        for chosen, own in zip(sets, share * odds / odds.sum(), strict=True):
            joint[np.ix_(chosen, chosen)] += own
    found = pair_baseline(np.diagonal(joint), np.array(sizes))
    np.testing.assert_allclose(found, joint, atol=1e-6)


def pairs_of(sets: np.ndarray) -> np.ndarray:
    """(E, E) tokens that chose both, of (N, E) zeros and ones."""
    return (sets.T @ sets).astype(np.int64)


@pytest.mark.parametrize("top_k", [2, 3, 5])
@pytest.mark.parametrize("lost", [0.0, 0.02])
def test_sizes_are_read_off_the_pairs(top_k: int, lost: float) -> None:
    generator = np.random.default_rng(top_k)
    sets = np.argsort(generator.random((4000, 8)), axis=1) < top_k
    empty = generator.random(len(sets)) < 5 * lost  # one or two slots of these tokens
    for row in np.flatnonzero(empty):
        chosen = np.flatnonzero(sets[row])
        sets[row, generator.choice(chosen, generator.integers(1, 3), replace=False)] = False
    sizes = np.bincount(sets.sum(axis=1), minlength=top_k + 1) / len(sets)
    np.testing.assert_allclose(set_sizes(pairs_of(sets * 1), len(sets), top_k), sizes, atol=1e-12)


def test_pairs_of_sets_with_empty_slots_show_nothing_where_load_decides() -> None:
    """A baseline that took every token to have k experts would call all pairs rare."""
    generator = np.random.default_rng(0)
    keys = np.log([1.0, 2.0, 1.5, 1.0, 0.7, 1.2]) + generator.gumbel(size=(40_000, 6))
    sets = (np.argsort(np.argsort(-keys, axis=1), axis=1) < 2) * 1
    sets[generator.random(sets.shape) < 0.25] = 0  # over capacity
    frame = coactivation_pairs(pairs_of(sets)[None], len(sets), (0,), 2)
    assert frame.log2_ratio.abs().max() < 0.15
    assert abs(frame.log2_ratio.mean()) < 0.03


def test_no_pairs_where_experts_choose_their_tokens() -> None:
    sets = (np.random.default_rng(0).random((500, 8)) < 0.25) * 1
    assert set_sizes(pairs_of(sets), len(sets), 2) is None
    assert coactivation_pairs(pairs_of(sets)[None], len(sets), (0,), 2).empty


def test_pairs_drawn_by_load_show_nothing_and_a_planted_pair_shows() -> None:
    generator = np.random.default_rng(0)
    scores = np.array([1.0, 0.5, 0.0, 0.0, -0.5, -1.0]) + generator.gumbel(size=(40_000, 6))
    # Gumbel scores draw one after another; redrawing repeats makes sets with P(S) ∝ Π w
    draws = (scores.argmax(axis=1)[:20_000], scores.argmax(axis=1)[20_000:])
    different = draws[0] != draws[1]
    first, second = draws[0][different], draws[1][different]

    def table(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        chosen = np.zeros((len(first), 6), dtype=np.int64)
        chosen[np.arange(len(first)), first] = 1
        chosen[np.arange(len(first)), second] = 1
        return (chosen.T @ chosen)[None]

    quiet = coactivation_pairs(table(first, second), len(first), (1,), 2)
    assert quiet.log2_ratio.abs().max() < 0.25
    assert quiet.lift.max() < 1.05  # plain lift is below 1 for pairs drawn by load
    glued = np.where((first == 2) & (second != 3), 3, second)
    loud = coactivation_pairs(table(first, glued), len(first), (1,), 2)
    best = loud.loc[loud.log2_ratio.idxmax()]
    assert {best.expert, best.other} == {2, 3}
    assert best.log2_ratio > 0.5
    assert coactivation_pairs(table(first, second), len(first), (1,), 1).empty


def test_flow_is_nothing_for_independent_layers_and_everything_for_equal_ones() -> None:
    generator = np.random.default_rng(0)
    load = np.array([0.5, 0.3, 0.2])
    apart = generator.multinomial(20_000, np.outer(load, load).ravel()).reshape(3, 3)
    same = np.diag([5000, 3000, 2000])
    flows, information = layer_flow(np.stack([apart, same]), (0, 2, 3), generator)
    assert information.next_layer.tolist() == [2, 3]
    assert abs(information.share[0]) < 0.002
    assert information.share[1] == pytest.approx(1, abs=0.01)
    assert flows.groupby("layer").share.sum().tolist() == pytest.approx([1, 1])
    kept = flows[(flows.layer == 2) & (flows.expert == flows.next_expert)]
    assert (kept.log2_ratio > 0.9).all()


def test_locality_equals_a_loop_and_sees_runs() -> None:
    sample = planted_sample(
        PlantedTokens(documents_per_topic=5, tokens=40), np.random.default_rng(0)
    )
    gaps = sample.positions % 7 != 3  # some positions are masked
    holes = type(sample)(
        **{
            **vars(sample),
            "documents": sample.documents[gaps],
            "positions": sample.positions[gaps],
            "types": sample.types[gaps],
            "experts": sample.experts[gaps],
        }
    )
    frame = locality(holes).set_index("lag")
    first = {
        (d, p): e
        for d, p, e in zip(holes.documents, holes.positions, holes.experts[:, 0, 0], strict=True)
    }
    for lag in (1, 3, 8):
        both = [(e, first[d, p + lag]) for (d, p), e in first.items() if (d, p + lag) in first]
        assert frame.same[lag] == pytest.approx(np.mean([a == b for a, b in both]))
        assert frame.pairs[lag] == len(both)
        assert frame.same[lag] == pytest.approx(frame.shuffled[lag], abs=0.05)
    generator, order = np.random.default_rng(1), np.arange(len(holes.documents))
    shuffles = []
    for _ in range(40):
        mixed = order[np.lexsort((generator.random(len(order)), holes.documents))]
        at = dict(zip(zip(holes.documents, holes.positions, strict=True), mixed, strict=True))
        now = [(at[d, p], at[d, p + 2]) for d, p in at if (d, p + 2) in at]
        chosen = holes.experts[:, 0, 0]
        shuffles.append(np.mean([chosen[a] == chosen[b] for a, b in now]))
    assert frame.shuffled[2] == pytest.approx(np.mean(shuffles), abs=0.01)
    holes.experts[:, 0, 0] = holes.positions // 10  # runs of ten
    runs = locality(holes).set_index("lag")
    assert runs.same[1] > 0.85 > 0.4 > runs.shuffled[1]
    assert runs.chance[1] == pytest.approx(0.25, abs=0.01)


def test_tokens_without_an_expert_are_left_out_of_their_layer_alone() -> None:
    sample = planted_sample(
        PlantedTokens(documents_per_topic=3, tokens=30), np.random.default_rng(0)
    )
    generator, chosen = np.random.default_rng(1), np.repeat(sample.experts, 2, axis=1)
    chosen[generator.random(chosen.shape) < 0.4] = sample.num_experts
    frame = locality(replace(sample, layers=(0, 1), experts=chosen))
    for position in range(2):
        kept = np.flatnonzero(chosen[:, position, 0] < sample.num_experts)
        alone = locality(
            replace(
                sample,
                documents=sample.documents[kept],
                positions=sample.positions[kept],
                experts=chosen[kept, position][:, None],
            )
        )
        columns = ["lag", "same", "shuffled", "chance", "pairs"]
        own = frame.loc[frame.layer == position, columns]
        np.testing.assert_allclose(own, alone[columns], rtol=1e-12)


def test_confidence_divides_by_tokens_and_leaves_unknown_routers_out() -> None:
    tokens = np.array([10, 0, 30])
    sums = {
        name: tokens[:, None] * np.array([[0.5, 1.0]]) for name in ("entropy", "mass", "margin")
    }
    frame = confidence(sums, tokens, ["a", "b", "c"], (0, 4))
    assert frame.topic.unique().tolist() == ["a", "c"]
    assert frame[frame.layer == 4].mass.tolist() == [1.0, 1.0]
    assert frame[frame.layer == 0].entropy.tolist() == pytest.approx([0.5 / np.log(2)] * 2)
    sums["margin"] = np.full((3, 2), np.nan)
    assert confidence(sums, tokens, ["a", "b", "c"], (0, 4)).empty
