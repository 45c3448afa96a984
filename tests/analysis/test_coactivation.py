"""E8–E11: pairs, flow, neighbours and confidence against enumerations and planted patterns."""

from itertools import combinations
from math import prod

import numpy as np
import pytest

from analysis.coactivation import coactivation_pairs, layer_flow, pair_baseline
from analysis.locality import confidence, locality

from .samples import PlantedTokens, planted_sample


@pytest.mark.parametrize("top_k", [2, 3])
def test_baseline_equals_the_enumeration_of_all_sets(top_k: int) -> None:
    weights = np.array([0.3, 1.0, 1.5, 4.0, 0.7])
    sets = list(combinations(range(5), top_k))
    odds = np.array([prod(weights[list(chosen)]) for chosen in sets])
    odds /= odds.sum()
    joint = np.zeros((5, 5))
    for chosen, share in zip(sets, odds, strict=True):
        joint[np.ix_(chosen, chosen)] += share
    np.testing.assert_allclose(pair_baseline(np.diagonal(joint), top_k), joint, atol=1e-6)


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
