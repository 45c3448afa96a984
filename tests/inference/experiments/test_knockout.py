"""A knocked-out expert is as good as removed; which experts are knocked out, and on what."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from moescope.inference.experiments.knockout import (
    KnockoutLosses,
    learned_routers,
    possible_knockout,
    without_expert,
)
from moescope.inference.experiments.knockout_choice import (
    NUM_CONTROLS,
    Knockout,
    choose_knockouts,
    choose_measured,
    topic_counts,
)
from moescope.inference.recording.capture import RoutingCapture
from moescope.inference.recording.forward import Observer
from moescope.model import MoescopeConfig, MoescopeForMaskedLM

EXPERTS, VOCABULARY = 5, 50
ROUTERS = {
    "topk": ({"name": "topk"}, 2),
    "unnormalised": ({"name": "topk", "renormalise": False}, 2),
    "after": ({"name": "topk", "softmax": "after"}, 3),
    "switch": ({"name": "switch"}, 1),
    "gshard": ({"name": "gshard"}, 2),
    "noisy": ({"name": "noisy_topk"}, 2),
    "sigmoid": ({"name": "sigmoid"}, 2),
}


def encoder(router: str, num_experts: int = EXPERTS, **changes: object) -> MoescopeForMaskedLM:
    torch.manual_seed(0)
    settings, top_k = ROUTERS[router]
    config = MoescopeConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        moe_intermediate_size=8,
        num_experts=num_experts,
        num_experts_per_tok=top_k,
        router=settings,
        initializer_range=0.4,
        **{"first_k_dense": 1, **changes},
    )
    return MoescopeForMaskedLM(config).eval()


def make_batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, VOCABULARY, (6, 12), generator=generator)
    kind = (torch.rand(ids.shape, generator=generator) < 0.4).long()
    kind[4] = 0  # a document without labels
    kind[1, 9:] = -1
    return {
        "input_ids": ids.masked_fill(kind == 1, 4),
        "attention_mask": (kind >= 0).long(),
        "labels": ids.masked_fill(kind != 1, -100),
        "mask_kind": kind,
        "label_positions": (kind == 1).flatten().nonzero().squeeze(1),
        "document_ids": torch.arange(6)[:, None].expand(6, 12).masked_fill(kind < 0, -1),
    }


@pytest.mark.parametrize("router", ROUTERS)
def test_knocking_out_equals_a_model_without_the_expert(router: str) -> None:
    whole, gone = encoder(router), 2
    gate = whole.model.layers[1].mlp.gate
    if router == "sigmoid":
        gate.bias.copy_(torch.tensor([0.0, 0.1, 2.0, 0.0, -0.1]))  # the bias wants it, too
    smaller = encoder(router, num_experts=EXPERTS - 1)
    kept = [expert for expert in range(EXPERTS) if expert != gone]
    weights = {
        name: values[kept] if ".gate." in name or ".experts." in name else values
        for name, values in whole.state_dict().items()
    }
    smaller.load_state_dict(weights)
    batch, device = make_batch(), torch.device("cpu")

    def losses(network: MoescopeForMaskedLM) -> torch.Tensor:
        with RoutingCapture(network) as capture:
            return Observer(network, capture, device).losses(batch)

    before = losses(whole)
    with without_expert(gate, gone):
        without = losses(whole)
    torch.testing.assert_close(without, losses(smaller), rtol=1e-5, atol=1e-6)
    assert not torch.allclose(without, before)
    assert torch.equal(losses(whole), before), "the model is left as it was"


def measure(
    network: MoescopeForMaskedLM, knockouts: list[Knockout], measured: list[bool]
) -> pd.DataFrame:
    with RoutingCapture(network) as capture:
        observer = Observer(network, capture, torch.device("cpu"))
        changes = KnockoutLosses(observer, knockouts, np.array(measured))
        changes.add(make_batch())
    return changes.frame()


def test_loss_changes_are_paired_by_document() -> None:
    network = encoder("topk", first_k_dense=0)
    knockouts = [
        Knockout(0, 1, "chosen", 0, 0.2),
        Knockout(1, 3, "chosen", 1, 0.3),
        Knockout(0, 1, "chosen", 1, 0.2),  # chosen for two topics: run once, listed twice
        Knockout(1, 0, "control", -1, 0.1),
    ]
    frame = measure(network, knockouts, [True, True, False, True, True, False])
    batch = make_batch()
    for number, knockout in enumerate(knockouts):
        rows = frame.iloc[number * 3 : number * 3 + 3]
        assert rows["document"].tolist() == [0, 1, 3], "document 4 has no label"
        assert (rows["layer"] == knockout.layer).all(), "both numbers and indices here"
        assert (rows["chosen_for"] == knockout.chosen_for).all()
        for row in rows.itertuples():
            one = {
                name: values[[row.document]] for name, values in batch.items() if values.dim() > 1
            }
            places = (one["mask_kind"] == 1).flatten().nonzero().squeeze(1)
            assert row.num_labels == len(places)
            arguments = {name: one[name] for name in ("input_ids", "attention_mask", "labels")}
            with torch.no_grad():
                before = network(**arguments).loss.item()
                with without_expert(learned_routers(network)[knockout.layer], knockout.expert):
                    after = network(**arguments).loss.item()
            assert row.loss_change == pytest.approx(after - before, abs=2e-5)


def test_an_expert_that_nobody_uses_changes_nothing() -> None:
    network = encoder("sigmoid")
    learned_routers(network)[0].bias[3] = -100.0
    frame = measure(
        network,
        [Knockout(0, 3, "control", -1, 0.0), Knockout(0, 1, "control", -1, 0.2)],
        [True] * 6,
    )
    assert (frame.loc[frame["expert"] == 3, "loss_change"] == 0).all()
    assert (frame.loc[frame["expert"] == 1, "loss_change"] != 0).any()


def test_models_without_a_learned_router_of_ours_are_left_whole(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert possible_knockout(torch.nn.Linear(2, 2), "top") == "none"
    assert "no knock-outs" in capsys.readouterr().err
    assert possible_knockout(torch.nn.Linear(2, 2), "none") == "none"
    assert possible_knockout(encoder("topk"), "all") == "all"


def planted_counts() -> np.ndarray:
    """5 topics, 6 layers, 16 experts of very uneven load; topic t loves expert t of layer t."""
    generator = np.random.default_rng(0)
    load = generator.dirichlet(np.full(16, 2.0), 6)
    counts = np.repeat((4000 * load).astype(int)[None], 5, axis=0)
    for topic in range(5):
        counts[topic, topic, topic] += 3000
        counts[topic, 5, 15] = topic == 3  # a ratio of five, by a single token
    return counts


def test_the_planted_experts_are_chosen_and_controls_match_their_load() -> None:
    counts = planted_counts()
    knockouts = choose_knockouts(counts, 1, others=False, generator=np.random.default_rng(0))
    chosen = [k for k in knockouts if k.kind == "chosen"]
    assert [(k.layer, k.expert, k.chosen_for) for k in chosen] == [(t, t, t) for t in range(5)]
    controls = [k for k in knockouts if k.kind == "control"]
    in_layers = np.bincount([k.layer for k in controls], minlength=6)
    assert in_layers.tolist() == [15] * 5 + [0], "all that a layer of 16 has left"
    cells = {(k.layer, k.expert) for k in knockouts}
    assert len(cells) == len(knockouts), "no expert twice, no control among the chosen"
    every = choose_knockouts(counts, 1, others=True, generator=np.random.default_rng(0))
    assert len(every) == 6 * 16
    assert every[: len(knockouts)] == knockouts


def test_controls_lie_in_the_layers_of_the_chosen_and_near_their_load() -> None:
    counts = np.repeat(np.geomspace(10, 4000, 64).astype(int)[None], 4, axis=0)[None]
    counts = np.repeat(counts, 2, axis=0)  # (T, L, E)
    counts[0, 1, 40] *= 3
    counts[1, 1, 44] *= 3
    knockouts = choose_knockouts(counts, 1, others=False, generator=np.random.default_rng(0))
    assert [(k.layer, k.expert) for k in knockouts[:2]] == [(1, 40), (1, 44)]
    controls = knockouts[2:]
    assert len(controls) == NUM_CONTROLS
    assert {k.layer for k in controls} == {1}
    assert min(k.expert for k in controls) >= 28
    assert max(k.expert for k in controls) <= 62
    few = choose_knockouts(counts[:, :, ::8], 1, others=False, generator=np.random.default_rng(0))
    layers = [k.layer for k in few if k.kind == "control"]
    assert len(layers) == NUM_CONTROLS, "other layers give what these do not have"
    every = choose_knockouts(counts, 1, others=True, generator=np.random.default_rng(0))
    assert len(every) == 4 * 64
    assert every[: len(knockouts)] == knockouts


def test_topics_without_tokens_and_few_experts() -> None:
    counts = planted_counts()[:3, :1, :4]
    counts[1] = 0
    knockouts = choose_knockouts(counts, 2, others=False, generator=np.random.default_rng(0))
    assert {k.chosen_for for k in knockouts if k.kind == "chosen"} == {0, 2}
    assert len({(k.layer, k.expert) for k in knockouts}) == 4, "fewer controls than wanted"


def test_measured_documents_are_not_those_that_choose(tmp_path: Path) -> None:
    topic_ids = np.array([0, 0, 0, 0, 0, 1, 1, 1, 2])
    ranks = np.array([4, 0, 1, 3, 2, 1, 0, 2, 0])
    alone = np.arange(9)
    measured = choose_measured(ranks, topic_ids, alone, 10)
    assert np.bincount(topic_ids[measured], minlength=3).tolist() == [2, 1, 0]
    assert choose_measured(ranks, topic_ids, alone, 1).sum() == 2
    counts = np.random.default_rng(0).integers(0, 9, (9, 2, 3))
    lists = pa.FixedSizeListArray.from_arrays(pa.array(counts.ravel()), 6)
    columns = {"document": np.arange(9), "topic_id": topic_ids, "expert_counts": lists}
    pq.write_table(pa.table(columns), tmp_path / "documents.parquet", row_group_size=2)
    expected = [counts[(topic_ids == t) & ~measured].sum(0) for t in range(3)]
    assert np.array_equal(topic_counts(tmp_path, measured, (3, 2, 3)), expected)


def test_groups_are_measured_whole_before_any_twice() -> None:
    generator = np.random.default_rng(1)
    groups, topic_ids = np.repeat(np.arange(12), 5), np.repeat([0, 1], 30)
    ranks = np.concatenate([generator.permutation(30) for _ in range(2)])
    for most, each in ((3, 1), (6, 2), (99, 5)):
        measured = choose_measured(ranks, topic_ids, groups, most)
        counts = np.bincount(groups[measured], minlength=12)
        assert sorted(counts[:6]) == [0, 0, 0, each, each, each], "half of the groups choose"
        chosen = measured & (topic_ids == 1)
        assert sorted(np.bincount(groups[chosen], minlength=12)[6:]) == [0, 0, 0, each, each, each]
