"""E1, E7 and E12 against their definitions and planted structure."""

import numpy as np
import pandas as pd
import pytest

from moescope.analysis.chapters.load.measures import (
    coefficient_of_variation,
    effective_experts,
    expert_load,
    gini,
    layer_balance,
    max_violation,
)
from moescope.analysis.chapters.position.measures import (
    mask_kind_load,
    masked_experts,
    router_entropy,
)
from moescope.analysis.chapters.vocabulary.measures import top_tokens, vocabulary_specialisation
from moescope.analysis.data.token_types import TypeCounts
from moescope.analysis.statistics.bootstrap import poisson_weights

from .stores import Planted
from .test_information import from_plan


def test_balance_measures_have_their_stated_extremes() -> None:
    even, one = np.ones(8), np.eye(8)[3]
    assert max_violation(even) == coefficient_of_variation(even) == gini(even) == 0
    assert effective_experts(even) == pytest.approx(8)
    assert max_violation(one) == 7
    assert gini(one) == pytest.approx(7 / 8)
    assert effective_experts(one) == pytest.approx(1)
    load = np.array([5.0, 1, 2, 0])
    pairs = np.abs(load[:, None] - load).mean() / (2 * load.mean())
    assert gini(load) == pytest.approx(pairs)


def test_load_shares_sum_to_k_per_layer_and_intervals_hold_them() -> None:
    data = from_plan(Planted(), 1)
    weights = poisson_weights(data.ids, 200, 0)
    frame = expert_load(data, weights)
    assert frame.groupby("layer").share.sum().tolist() == pytest.approx([1, 1])
    assert ((frame.low < frame.share) & (frame.share < frame.high)).all()
    balance = layer_balance(data, weights).set_index("layer")
    for layer, group in frame.groupby("layer"):
        assert balance.max_violation[layer] == pytest.approx(group.share.max() * 8 - 1)


def test_dead_experts_are_named_with_a_bound() -> None:
    data = from_plan(Planted(), 1)
    data.counts[:, 0, 5] = 0
    frame = expert_load(data, poisson_weights(data.ids, 20, 0))
    dead = frame[frame.dead]
    assert dead[["layer", "expert"]].to_numpy().tolist() == [[0, 5]]
    assert dead.use_bound.item() == pytest.approx(1 - 0.05 ** (1 / 160))
    assert frame[~frame.dead].use_bound.isna().all()


def test_mask_kinds_are_kept_apart() -> None:
    table = np.zeros((2, 5, 1, 4), dtype=np.int64)
    table[:, 0, 0] = [4, 3, 2, 1]
    table[:, 1, 0, 3] = 5
    tokens = table.sum(axis=(2, 3))
    mask_kinds = ["untouched", "masked", "replaced", "kept", "special"]
    frame = mask_kind_load(table, tokens, mask_kinds, [7])
    assert set(frame.mask_kind) == {"untouched", "masked"}
    masked = frame[frame.mask_kind == "masked"].set_index("expert").share
    assert masked.tolist() == [0, 0, 0, 1]
    sums = np.full((5, 1), np.nan)
    sums[0] = tokens[:, 0].sum() * np.log(2)  # one bit per token
    entropy = router_entropy(sums, tokens, mask_kinds, [7], 4)
    assert entropy.to_dict("records") == [
        {"mask_kind": "untouched", "layer": 7, "entropy": 1.0, "max_entropy": 2.0, "tokens": 20}
    ]


def test_a_mask_expert_is_found() -> None:
    data = from_plan(Planted(mask_effect=3.0), 2)
    frame = masked_experts(data, poisson_weights(data.ids, 100, 0))
    best = frame.loc[frame.groupby("layer").log2_ratio.idxmax()]
    assert best.expert.tolist() == [7, 7]
    assert (best.low > 1).all()
    unmasked = from_plan(Planted(masked=0), 2)
    assert masked_experts(unmasked, poisson_weights(data.ids, 10, 0)).empty


def planted_types(generator: np.random.Generator) -> TypeCounts:
    tokens = np.array([400, 400, 5, 300])
    shares = np.full((4, 1, 4), 0.25)
    shares[1, 0] = [0.05, 0.85, 0.05, 0.05]
    counts = generator.multinomial(tokens[:, None], shares)
    counts[2, 0] = [0, 0, 0, 5]  # all on one expert, but too rare to count
    return TypeCounts(["the", "loss", "rare", "of"], tokens, counts)


def test_top_tokens_name_the_enriched_type_and_skip_rare_ones() -> None:
    types = planted_types(np.random.default_rng(0))
    counts, tokens = types.counts.sum(axis=0), int(types.tokens.sum())
    frame = top_tokens(types, counts, tokens, 3, layers=[3], top_k=1)
    first = frame[(frame.expert == 1) & (frame["rank"] == 1)].iloc[0]
    assert (first.layer, first.token, first.tokens) == (3, "loss", 400)
    assert first.low < first.log2_ratio < first.high
    assert first.share == types.counts[1, 0, 1] / 400
    assert "rare" not in set(frame.token)
    assert (frame.low > 0).all()


@pytest.mark.parametrize("kept", [1.0, 0.5])
def test_base_share_is_of_tokens_like_the_share_whatever_slots_are_empty(kept: float) -> None:
    generator = np.random.default_rng(0)
    tokens = np.full(50, 2000)
    shares = np.tile([0.4, 0.3, 0.2, 0.1], (50, 1, 1))
    shares[7, 0] = [0.1, 0.1, 0.1, 0.7]
    counts = generator.binomial(generator.multinomial(tokens[:, None], shares), kept)
    types = TypeCounts([str(number) for number in range(50)], tokens, counts)
    base = counts.sum(axis=0)
    frame = top_tokens(types, base, int(tokens.sum()), 50, layers=[0], top_k=1)
    best = frame[frame.expert == 3].iloc[0]
    assert best.token == "7"
    assert best.log2_ratio == pytest.approx(np.log2(0.7 / 0.112), abs=0.1)
    assert (frame.base_share <= kept * 0.41).all()
    others = frame[frame.token != "7"]
    assert others.low.max() < 0.2, "no type is enriched by the slots that are empty"
    assert len(others) < 50, "of 200 cells few, by chance"


@pytest.mark.parametrize(("experts", "top_k"), [(8, 1), (8, 2), (64, 8)])
def test_vocabulary_specialisation_is_0_by_chance_and_1_for_types_that_decide(
    experts: int, top_k: int
) -> None:
    generator = np.random.default_rng(0)
    tokens = generator.integers(10, 40, 500)
    random, strict = np.zeros((2, 500, 1, experts), dtype=np.int64)
    for row, number in enumerate(tokens):
        sets = generator.random((number, experts)).argsort(axis=1)[:, :top_k]
        random[row, 0] = np.bincount(sets.ravel(), minlength=experts)
        strict[row, 0, sets[0]] = number
    names = [str(number) for number in range(500)]
    results: list[pd.Series] = [
        vocabulary_specialisation(TypeCounts(names, tokens, counts), [0], generator).iloc[0]
        for counts in (random, strict)
    ]
    assert results[0].observed > 1.5 * top_k / experts  # far above k/E by chance alone
    assert abs(results[0].excess) < 0.01
    assert results[1].observed == 1
    assert results[1].excess == pytest.approx(1)
