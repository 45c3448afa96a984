"""E14 within a run: saturation is shared over chosen, and the sentence says when it settled."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from moescope.analysis.chapters.checkpoints.figures import saturation_figure
from moescope.analysis.chapters.checkpoints.measures import routing_saturation, settled_steps
from moescope.analysis.chapters.checkpoints.verdict import saturation_claim
from moescope.analysis.data.documents import DocumentCounts
from moescope.analysis.statistics.bootstrap import poisson_weights

from .stores import Planted, planted_counts

PLAN = Planted(documents_per_topic=10, experts=4)


def planted_saturation(
    rates: dict[int, dict[int, float]],
) -> tuple[pd.DataFrame, tuple[pd.DataFrame, DocumentCounts, np.ndarray]]:
    """documents.parquet, counts and saturation.parquet with given shares, step → layer → share."""
    generator = np.random.default_rng(0)
    topics, tokens, counts, masked = planted_counts(PLAN, generator)
    numbers = generator.permutation(len(topics)) + 5  # numbers in the store are not rows
    documents = pd.DataFrame({"document": numbers, "id": [f"d{row:03d}" for row in range(40)]})
    data = DocumentCounts(
        ids=documents["id"].tolist(),
        topic_ids=topics,
        topics=PLAN.topics,
        layers=PLAN.layers,
        top_k=1,
        counts=counts,
        tokens=tokens,
        masked_counts=masked,
        masked_tokens=masked[:, 0].sum(axis=-1),
    )
    records = [
        {
            "step": step,
            "layer": layer,
            "document": numbers[row],
            "shared": generator.binomial(tokens[row], share),
            "chosen": tokens[row],
        }
        for step, layers in rates.items()
        for layer, share in layers.items()
        for row in range(40)
    ]
    return pd.DataFrame(records, columns=["step", "layer", "document", "shared", "chosen"]), (
        documents,
        data,
        poisson_weights(data.ids, 200, 0),
    )


def test_saturation_is_shared_over_chosen_inside_its_interval() -> None:
    rates = {10: {0: 0.4, 2: 0.5}, 20: {0: 0.9, 2: 0.6}}
    frame, inputs = planted_saturation(rates)
    result = routing_saturation(frame, *inputs)
    assert len(result) == 4
    for row in result.itertuples():
        own = frame[(frame.step == row.step) & (frame.layer == row.layer)]
        assert row.saturation == pytest.approx(sum(own.shared) / sum(own.chosen))
        assert row.low < row.saturation < row.high
        assert row.saturation == pytest.approx(rates[row.step][row.layer], abs=0.04)
        assert row.chance == 0.25
        assert row.documents == 40
        load = inputs[1].counts[:, PLAN.layers.index(row.layer)].sum(0) / inputs[1].tokens.sum()
        assert row.load_chance == pytest.approx((load**2).sum())
        assert row.load_chance > row.chance
    assert len(saturation_figure(result).data) == 3  # two layers and the load


def test_chance_is_of_the_experts_that_tokens_have() -> None:
    """Where experts choose tokens, or slots stay empty, tokens do not have k."""
    frame, (documents, data, weights) = planted_saturation({10: {0: 0.4, 2: 0.5}})
    more = data.counts * np.array([1, 3])[:, None]  # three experts a token in the second layer
    result = routing_saturation(frame, documents, replace(data, counts=more), weights)
    assert result.chance.tolist() == [0.25, 0.75]


@pytest.mark.parametrize(
    ("rates", "steps", "says"),
    [
        ({10: {0: 0.95, 2: 0.95}, 20: {0: 1, 2: 1}}, {0: 10, 2: 10}, "by the first snapshot"),
        ({10: {0: 0.95, 2: 0.3}, 20: {0: 1, 2: 1}}, {0: 10, 2: 20}, "by step 20, layer 2 last"),
        ({10: {0: 0.95, 2: 0.3}, 20: {0: 1, 2: 0.5}}, {0: 10, 2: None}, "layer 2 not yet at least"),
        (
            {10: {0: 0.95, 2: 0.95}, 20: {0: 0.5, 2: 1}},
            {0: None, 2: 10},
            "layer 0 not yet at least",
        ),
        ({10: {0: 0.3, 2: 0.3}}, {0: None, 2: None}, "no layer was"),
        ({10: {0: 0.85, 2: 1}}, {0: None, 2: 10}, "hether layer 0 had settled by step 10 cannot"),
        ({10: {0: 0.88, 2: 1}, 20: {0: 1, 2: 1}}, {0: 20, 2: 10}, "by step 20, layer 0 last"),
    ],
)
def test_when_routing_settled(
    rates: dict[int, dict[int, float]], steps: dict[int, int | None], says: str
) -> None:
    frame, inputs = planted_saturation(rates)
    result = routing_saturation(frame, *inputs)
    assert settled_steps(result) == steps
    assert says in saturation_claim(result)


def test_without_snapshots_there_is_nothing() -> None:
    frame, inputs = planted_saturation({})
    assert routing_saturation(frame, *inputs).empty


def test_groups_of_alike_documents_widen_the_interval() -> None:
    frame, inputs = planted_saturation({10: {0: 0.85, 2: 0.85}})
    row_of = dict(zip(inputs[0]["document"], range(40), strict=True))
    group = frame["document"].map(row_of) // 5
    frame["shared"] = np.where(group % 2 == 0, frame["chosen"], (0.7 * frame["chosen"]).astype(int))
    names = [f"g{row // 5}" for row in range(40)]
    alone, together = (
        routing_saturation(frame, *inputs, groups).iloc[0] for groups in (None, names)
    )
    assert alone.saturation == together.saturation
    assert together.high - together.low > 1.5 * (alone.high - alone.low)
    assert (alone.groups, together.groups) == (40, 8)
    few = routing_saturation(frame, *inputs, ["one"] * 20 + ["two"] * 20)
    assert not few.settled.any()
    assert not few.moving.any()
    assert "cannot be told" in saturation_claim(few)
