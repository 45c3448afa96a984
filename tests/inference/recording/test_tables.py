"""Tables equal a slow, obvious twin; shards merged equal one pass."""

from collections import Counter

import numpy as np
import pytest
import torch

from moescope.data_processors.mask_kinds import MASK_KINDS
from moescope.inference.recording.tables import (
    CONFIDENCE,
    FIXED_POINT,
    RoutedTokens,
    RoutingTables,
    TableSizes,
)


def random_tokens(
    sizes: TableSizes, count: int, generator: torch.Generator, *, drop: float = 0.1
) -> RoutedTokens:
    def draw(high: int) -> torch.Tensor:
        return torch.randint(0, high, (count,), generator=generator)

    shape = (count, sizes.num_layers, sizes.num_experts)
    experts = torch.rand(shape, generator=generator).topk(sizes.num_slots, -1).indices
    lost = torch.rand(experts.shape, generator=generator) < drop
    mask_kind = draw(len(MASK_KINDS))
    targets = (mask_kind == 1).nonzero().squeeze(1)
    bins = sizes.num_positions
    place = draw(bins) + bins * (mask_kind == 1)
    special = 2 * bins + draw(sizes.num_special)
    return RoutedTokens(
        experts=experts.masked_fill(lost, sizes.num_experts),
        confidence=torch.rand((*shape[:2], 3), generator=generator) - 0.2,
        topic=draw(sizes.num_topics),
        mask_kind=mask_kind,
        input_type=draw(sizes.num_types + 1),
        token_class=draw(sizes.num_classes),
        place=torch.where(mask_kind == 4, special, place),
        untouched=(mask_kind == 0).nonzero().squeeze(1),
        masked=targets,
        natural=((mask_kind < 2) | (mask_kind == 4)).nonzero().squeeze(1),
        targets=targets,
        target_type=draw(sizes.num_types + 1)[targets],
    )


def slow_tables(sizes: TableSizes, batches: list[RoutedTokens]) -> dict[str, Counter]:
    """Counts token by token, slot by slot, in plain Python."""
    tables: dict[str, Counter] = {name: Counter() for name in RoutingTables(sizes).arrays()}
    for batch in batches:
        for n in range(len(batch.topic)):
            _count_token(tables, batch, n, sizes.num_experts)
    return tables


def _count_token(tables: dict[str, Counter], batch: RoutedTokens, n: int, E: int) -> None:
    mask_kind, topic = int(batch.mask_kind[n]), int(batch.topic[n])
    rows = {"topic_mask_kind": (topic, mask_kind)}
    if mask_kind == 0:
        rows["type"] = (int(batch.input_type[n]),)
    if mask_kind == 1:
        rows["target"] = (int(batch.target_type[batch.targets.tolist().index(n)]),)
    if mask_kind in (0, 1, 4):
        rows["class"] = (int(batch.token_class[n]),)
        rows["place"] = (int(batch.place[n]),)
    for name, row in rows.items():
        tables[f"{name}_tokens"][row] += 1
    for layer, chosen in enumerate(batch.experts[n].tolist()):
        entropy = float(batch.confidence[n, layer, 0])
        if "place" in rows:
            tables["place_entropy"][*rows["place"], layer] += entropy
        for name, value in zip(CONFIDENCE, batch.confidence[n, layer].tolist(), strict=True):
            tables[f"topic_mask_kind_{name}"][topic, mask_kind, layer] += value
        for expert in chosen:
            if expert == E:
                tables["dropped"][(layer,)] += 1
                continue
            for name, row in rows.items():
                tables[f"{name}_expert"][(*row, layer, expert)] += 1
            if mask_kind == 0:
                for other in chosen:
                    if other != E:
                        tables["coactivation"][layer, expert, other] += 1
        if mask_kind == 0 and layer and E not in (chosen[0], batch.experts[n, layer - 1, 0]):
            before = int(batch.experts[n, layer - 1, 0])
            tables["transition"][layer - 1, before, chosen[0]] += 1


@pytest.mark.parametrize(("layers", "experts", "top_k"), [(1, 4, 1), (3, 5, 2), (2, 8, 8)])
def test_tables_equal_a_slow_twin(layers: int, experts: int, top_k: int) -> None:
    sizes = TableSizes(
        3,
        layers,
        experts,
        top_k,
        num_types=6,
        num_classes=4,
        num_positions=5,
        num_special=2,
        top_k=top_k,
    )
    generator = torch.Generator().manual_seed(0)
    batches = [random_tokens(sizes, count, generator) for count in (40, 1, 73)]
    tables = RoutingTables(sizes)
    for batch in batches:
        tables.add(batch)
    arrays, slow = tables.arrays(), slow_tables(sizes, batches)
    assert arrays.keys() == slow.keys()
    for name, array in arrays.items():
        expected = np.zeros(array.shape)
        for cell, value in slow[name].items():
            expected[cell] = value
        np.testing.assert_allclose(array, expected, rtol=0, atol=114 / FIXED_POINT, err_msg=name)
    assert arrays["dropped"].sum() > 0
    assert arrays["topic_mask_kind_expert"].dtype == np.int64


def test_shards_merged_in_any_order_equal_one_pass_bit_for_bit() -> None:
    sizes = TableSizes(
        2, 2, 6, 2, num_types=9, num_classes=3, num_positions=4, num_special=1, top_k=2
    )
    generator = torch.Generator().manual_seed(1)
    batches = [random_tokens(sizes, 50, generator) for _ in range(6)]
    whole, left, right = (RoutingTables(sizes) for _ in range(3))
    for index, batch in enumerate(batches):
        whole.add(batch)
        (left if index % 2 else right).add(batch)
    right.merge(left.sums(), has_confidence=left.has_confidence)
    for name, array in whole.arrays().items():
        assert np.array_equal(array, right.arrays()[name]), name


def test_unknown_confidence_is_nan_not_zero() -> None:
    sizes = TableSizes(
        2, 2, 4, 1, num_types=3, num_classes=2, num_positions=2, num_special=1, top_k=1
    )
    tokens = random_tokens(sizes, 10, torch.Generator().manual_seed(2))
    known, unknown = RoutingTables(sizes), RoutingTables(sizes)
    known.add(tokens)
    unknown.add(tokens._replace(confidence=None))
    unknown.merge(known.sums(), has_confidence=known.has_confidence)
    for name in ("topic_mask_kind_entropy", "topic_mask_kind_mass", "place_entropy"):
        assert np.isfinite(known.arrays()[name]).all()
        assert np.isnan(unknown.arrays()[name]).all()


def test_empty_slots_are_no_drops_where_experts_choose_tokens() -> None:
    sizes = TableSizes(
        2, 2, 4, 4, num_types=3, num_classes=2, num_positions=2, num_special=1, top_k=2
    )
    tables = RoutingTables(sizes)
    tables.add(random_tokens(sizes, 30, torch.Generator().manual_seed(3), drop=0.5))
    assert not tables.arrays()["dropped"].any()
