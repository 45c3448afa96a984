"""Routing and balance losses stay in float32 under bf16 autocast, and counts stay whole."""

from typing import Any

import pytest
import torch
from torch import Tensor

from moescope.model import BALANCE_LOSSES, Routing, balance_losses
from tests.model.test_encoder import build, token_ids
from tests.model.test_routers import EVERY_ROUTER, build_context, build_router, hidden_rows

BF16: dict[str, Any] = {"device_type": "cpu", "dtype": torch.bfloat16}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("case", EVERY_ROUTER)
def test_autocast_changes_nothing_of_a_routing(
    case: str, dtype: torch.dtype, training: bool
) -> None:
    router, context = build_router(case).train(training), build_context(8, 16, padded=3)
    hidden = hidden_rows(128).to(dtype)
    torch.manual_seed(0)
    expected = router(hidden, context)
    torch.manual_seed(0)
    with torch.autocast(**BF16):
        got = router(hidden, context)
    assert got.logits.dtype == got.probabilities.dtype == got.weights.dtype == torch.float32
    for ours, theirs in zip(got, expected, strict=True):
        assert (ours is None) == (theirs is None)
        assert ours is None or torch.equal(ours, theirs)


@pytest.mark.parametrize("case", EVERY_ROUTER)
def test_a_model_routes_in_float32_whatever_computes_around_it(case: str) -> None:
    settings, k = EVERY_ROUTER[case]
    model = build(num_experts_per_tok=k, router={"name": case.split("-")[0]} | settings)
    inputs: list[Tensor] = []
    for layer in model.model.layers:
        layer.mlp.gate.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    conditions = torch.tensor([0, 2])
    with torch.autocast(**BF16):
        output = model(token_ids(2, 8), metadata_ids=conditions, output_routing=True)
    assert output.logits.dtype == torch.bfloat16
    for layer, hidden, routing in zip(model.model.layers, inputs, output.routing, strict=True):
        assert routing.logits.dtype == routing.probabilities.dtype == torch.float32
        weight = layer.mlp.gate.weight
        if weight is not None:
            scores = hidden.double() @ weight.double().T
            known = routing.logits > -torch.inf  # the masked router's forbidden experts
            logits = routing.logits.double()
            torch.testing.assert_close(logits[known], scores[known], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("chosen", [257, 2_049, 70_001])
def test_counts_are_whole_numbers_whatever_the_dtype_of_the_logits(chosen: int) -> None:
    ids = torch.tensor([0] * chosen + [2] * 3 + [4])[:, None]  # 4: no expert
    dropped = torch.zeros_like(ids, dtype=torch.bool)
    dropped[0] = True
    scores = torch.zeros(len(ids), 4, dtype=torch.bfloat16)
    routing = Routing(scores, scores, ids, torch.ones_like(ids, dtype=torch.float32), dropped)
    assert routing.counts().tolist() == [chosen, 0, 3, 0]
    assert routing.counts(dispatched=True).tolist() == [chosen - 1, 0, 3, 0]


def test_loss_free_balancing_counts_exactly_in_a_bf16_model() -> None:
    router = build_router("sigmoid", num_experts=2, bias_update_rate=0.5).bfloat16().train()
    router.settings["renormalise"] = False
    router.top_k = 1
    with torch.no_grad():
        router.weight.copy_(torch.tensor([[1.0], [-1.0]]).expand(2, 6))  # type: ignore[union-attr]
    context = build_context(1, 1_025)
    signs = torch.ones(1_025, 1)
    signs[:512] = -1  # 512 against 513: bf16 counts to 512
    for direction in (1, 1, -1):  # 1 more for the first expert, over all micro-batches
        router((direction * signs).expand(-1, 6), context)
    assert router.tokens_per_expert.tolist() == [1_538, 1_537]  # type: ignore[union-attr]
    router.after_optimizer_step()
    assert router.bias.tolist() == [-0.5, 0.5]  # type: ignore[union-attr]


def test_balance_losses_are_the_same_under_autocast() -> None:
    model, ids = build(), token_ids(2, 8)
    routings = model(ids, output_routing=True).routing
    arguments = (routings, torch.ones_like(ids), list(BALANCE_LOSSES))
    expected = balance_losses(*arguments, experts=model.expert_modules())
    with torch.autocast(**BF16):
        got = balance_losses(*arguments, experts=model.expert_modules())
    assert all(torch.equal(got[name], expected[name]) for name in expected)


@pytest.mark.parametrize("router", ["topk", "sigmoid"])
def test_under_autocast_a_training_step_is_one_graph(router: str) -> None:
    model, ids = build(num_hidden_layers=1, router={"name": router}).train(), token_ids(2, 8)
    model.set_experts_implementation("grouped_mm")  # what the compiled one takes
    gate = model.model.layers[0].mlp.gate

    def step(ids: Tensor) -> tuple[Tensor, Tensor, Routing]:
        with torch.autocast(**BF16):  # inside what is compiled, as the Trainer has it
            output = model(ids, labels=ids, output_routing=True)
        balance = balance_losses(output.routing, None, ["switch", "z"])
        return output.loss + sum(balance.values()), output.logits, output.routing[0]

    torch._dynamo.reset()
    results = []
    for run in (step, torch.compile(step, fullgraph=True, backend="aot_eager")):
        model.zero_grad()
        loss, logits, routing = run(ids)
        assert logits.dtype == torch.bfloat16
        assert routing.logits.dtype == torch.float32
        loss.backward()
        results.append((loss.detach(), gate.weight.grad.clone()))
    torch.testing.assert_close(*results)  # the gate's gradient, too, in float32
