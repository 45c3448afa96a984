"""Tables equal a slow, obvious twin; shards merged equal one pass."""

from collections import Counter

import numpy as np
import pytest
import torch

from moescope.inference.recording.tables import (
    CONFIDENCE,
    FIXED_POINT,
    RoutedTokens,
    RoutingTables,
    TableSizes,
)
from moescope.inference.store.reader import STRATA


def random_tokens(
    sizes: TableSizes, count: int, generator: torch.Generator, *, drop: float = 0.1
) -> RoutedTokens:
    def draw(high: int) -> torch.Tensor:
        return torch.randint(0, high, (count,), generator=generator)

    shape = (count, sizes.num_layers, sizes.num_experts)
    weights, experts = torch.rand(shape, generator=generator).topk(sizes.num_slots, -1)
    lost = torch.rand(experts.shape, generator=generator) < drop
    stratum = draw(len(STRATA))
    targets = (stratum == 1).nonzero().squeeze(1)
    bins = sizes.num_positions
    substratum = draw(bins) + bins * (stratum == 1)
    special = 2 * bins + draw(sizes.num_special)
    return RoutedTokens(
        experts=experts.masked_fill(lost, sizes.num_experts),
        weights=weights.masked_fill(lost, 0.0),
        confidence=torch.rand((*shape[:2], 3), generator=generator) - 0.2,
        topic=draw(sizes.num_topics),
        stratum=stratum,
        input_type=draw(sizes.num_types + 1),
        token_class=draw(sizes.num_classes),
        substratum=torch.where(stratum == 4, special, substratum),
        untouched=(stratum == 0).nonzero().squeeze(1),
        masked=targets,
        natural=((stratum < 2) | (stratum == 4)).nonzero().squeeze(1),
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
    stratum, topic = int(batch.stratum[n]), int(batch.topic[n])
    rows = {"topic_stratum": (topic, stratum)}
    if stratum == 0:
        rows["type"] = (int(batch.input_type[n]),)
        rows["position"] = (int(batch.substratum[n]),)
    if stratum == 1:
        rows["target"] = (int(batch.target_type[batch.targets.tolist().index(n)]),)
    if stratum in (0, 1, 4):
        rows["class"] = (int(batch.token_class[n]),)
        rows["substratum"] = (int(batch.substratum[n]),)
    for name, row in rows.items():
        tables[f"{name}_tokens"][row] += 1
    for layer, (chosen, weights) in enumerate(
        zip(batch.experts[n].tolist(), batch.weights[n].tolist(), strict=True)
    ):
        entropy = float(batch.confidence[n, layer, 0])
        tables["stratum_entropy"][stratum, layer] += entropy
        if "substratum" in rows:
            tables["substratum_entropy"][*rows["substratum"], layer] += entropy
        for name, value in zip(CONFIDENCE, batch.confidence[n, layer].tolist(), strict=True):
            tables[f"topic_stratum_{name}"][topic, stratum, layer] += value
        for expert, weight in zip(chosen, weights, strict=True):
            if expert == E:
                tables["dropped"][(layer,)] += 1
                continue
            for name, row in rows.items():
                table = name if name == "topic_stratum" else f"{name}_expert"
                tables[table][(*row, layer, expert)] += 1
            tables["topic_stratum_weight"][topic, stratum, layer, expert] += weight
            if stratum == 0:
                for other in chosen:
                    if other != E:
                        tables["coactivation"][layer, expert, other] += 1
        if stratum == 0 and layer and E not in (chosen[0], batch.experts[n, layer - 1, 0]):
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
    assert arrays["topic_stratum"].dtype == np.int64


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
    for name in ("stratum_entropy", "topic_stratum_mass", "topic_stratum_margin"):
        assert np.isfinite(known.arrays()[name]).all()
        assert np.isnan(unknown.arrays()[name]).all()


def test_empty_slots_are_no_drops_where_experts_choose_tokens() -> None:
    sizes = TableSizes(
        2, 2, 4, 4, num_types=3, num_classes=2, num_positions=2, num_special=1, top_k=2
    )
    tables = RoutingTables(sizes)
    tables.add(random_tokens(sizes, 30, torch.Generator().manual_seed(3), drop=0.5))
    assert not tables.arrays()["dropped"].any()
