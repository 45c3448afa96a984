"""Capture records the choice that was made, in our models and in transformers' own."""

import pytest
import torch
from transformers import (
    MixtralConfig,
    MixtralForCausalLM,
    OlmoeConfig,
    OlmoeForCausalLM,
    PreTrainedModel,
)

from configs.errors import UserError
from inference.capture import RoutingCapture, find_experts
from model import MoescopeConfig, MoescopeForMaskedLM

SMALL = {
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 8,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "num_experts_per_tok": 2,
}


def build(family: str) -> PreTrainedModel:
    torch.manual_seed(0)
    if family == "olmoe":
        return OlmoeForCausalLM(OlmoeConfig(**SMALL, num_experts=6)).eval()
    if family == "mixtral":
        return MixtralForCausalLM(MixtralConfig(**SMALL, num_local_experts=6)).eval()
    config = MoescopeConfig(
        **SMALL, moe_intermediate_size=8, num_experts=6, router={"name": "topk"}
    )
    return MoescopeForMaskedLM(config).eval()


@pytest.mark.parametrize("family", ["olmoe", "mixtral", "moescope"])
def test_what_is_captured_is_what_the_routers_chose(family: str) -> None:
    network = build(family)
    ids = torch.randint(5, 50, (2, 7), generator=torch.Generator().manual_seed(1))
    hidden: list[torch.Tensor] = []
    for module in find_experts(network).values():
        module.register_forward_pre_hook(lambda _, args: hidden.append(args[0]))
    with RoutingCapture(network) as capture, torch.no_grad():
        network(input_ids=ids)
        experts, weights = capture.take(torch.arange(14), 14)
    assert capture.layers == [0, 1, 2]
    assert experts.shape == weights.shape == (14, 3, 2)
    for layer, states in enumerate(hidden):
        gate = network.model.layers[layer].mlp.gate.weight
        probabilities = (states @ gate.T).softmax(-1)
        assert torch.equal(experts[:, layer], probabilities.topk(2).indices)
    chosen = weights.sort(-1, descending=True).values
    assert torch.equal(weights, chosen), "the first choice comes first"


def test_padding_is_left_out_and_changes_nothing() -> None:
    network = build("moescope")
    ids = torch.randint(5, 50, (1, 6), generator=torch.Generator().manual_seed(2))
    padded = torch.cat([ids, torch.zeros(1, 3, dtype=torch.int64)], 1)
    mask = (torch.arange(9) < 6).long()[None]
    with RoutingCapture(network) as capture, torch.no_grad():
        network(input_ids=ids)
        alone, _ = capture.take(torch.arange(6), 6)
        network(input_ids=padded, attention_mask=mask)
        beside, _ = capture.take(torch.arange(6), 9)
    assert torch.equal(alone, beside)


def test_experts_that_see_real_tokens_only() -> None:
    """A model may drop padding before its experts: N rows for N real tokens."""
    network = build("moescope")
    with RoutingCapture(network) as capture:
        ids = torch.arange(8).view(4, 2)
        for module in find_experts(network).values():
            module(torch.zeros(4, 16), ids % 6, torch.ones(4, 2))
        experts, _ = capture.take(torch.tensor([0, 1, 5, 6]), 8)
        assert torch.equal(experts[:, 0], ids % 6)
        for module in find_experts(network).values():
            module(torch.zeros(4, 16), ids % 6, torch.ones(4, 2))
        with pytest.raises(AssertionError, match="4 rows"):
            capture.take(torch.arange(3), 8)


def test_hooks_are_gone_when_the_capture_closes() -> None:
    network = build("olmoe")
    with RoutingCapture(network):
        pass
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_a_dense_model_is_refused() -> None:
    config = MoescopeConfig(**SMALL | {"num_experts_per_tok": 1}, num_experts=0)
    with pytest.raises(UserError, match="dense model has no experts"):
        RoutingCapture(MoescopeForMaskedLM(config))
