"""Capture records the choice that was made, in our models and in transformers' own."""

import pytest
import torch
from transformers import (
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    Glm4MoeConfig,
    Glm4MoeForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    OlmoeConfig,
    OlmoeForCausalLM,
    PreTrainedModel,
)

from moescope.configs.errors import UserError
from moescope.inference.recording.capture import RoutingCapture, by_weight, find_experts
from moescope.model import MoescopeConfig, MoescopeForMaskedLM

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


def unsorted(family: str) -> PreTrainedModel:
    """Models that take their top k with `topk(sorted=False)`; many experts, so that it shows."""
    torch.manual_seed(0)
    shape = SMALL | {"num_experts_per_tok": 4, "n_routed_experts": 32, "moe_intermediate_size": 8}
    shape |= {"first_k_dense_replace": 1, "initializer_range": 0.5}
    if family == "glm4_moe":
        return Glm4MoeForCausalLM(Glm4MoeConfig(**shape, head_dim=8)).eval()
    heads = {"q_lora_rank": None, "kv_lora_rank": 8, "v_head_dim": 8}
    heads |= {"qk_rope_head_dim": 8, "qk_nope_head_dim": 8}
    return DeepseekV3ForCausalLM(DeepseekV3Config(**shape, **heads)).eval()


@pytest.mark.parametrize("family", ["deepseek_v3", "glm4_moe"])
def test_the_first_choice_comes_first_where_the_model_does_not_sort(family: str) -> None:
    network = unsorted(family)
    handed: list[tuple[torch.Tensor, torch.Tensor]] = []
    for module in find_experts(network).values():
        module.register_forward_pre_hook(lambda _, args: handed.append((args[1], args[2])))
    ids = torch.randint(5, 50, (4, 16), generator=torch.Generator().manual_seed(1))
    with RoutingCapture(network) as capture, torch.no_grad():
        network(input_ids=ids)
        experts, weights = capture.take(torch.arange(64), 64)
    assert (weights[..., :-1] >= weights[..., 1:]).all()
    assert any((own[:, 0] < own.amax(-1)).any() for _, own in handed), "the model does not sort"
    for layer, (chosen, own) in enumerate(handed):
        assert torch.equal(experts[:, layer, 0], chosen.gather(1, own.argmax(-1, True))[:, 0])
        for n in range(64):
            given = dict(zip(chosen[n].tolist(), own[n].tolist(), strict=True))
            taken = zip(experts[n, layer].tolist(), weights[n, layer].tolist(), strict=True)
            assert given == dict(taken), "weights stay with their experts"


@pytest.mark.parametrize("is_sorted", [False, True])
@pytest.mark.parametrize("slots", [1, 2, 5])
def test_ordering_by_weight_equals_a_slow_twin(slots: int, is_sorted: bool) -> None:
    generator = torch.Generator().manual_seed(slots)
    shape, E = (30, 3, slots), 6
    experts = torch.rand((30, 3, E), generator=generator).argsort(-1)[..., :slots]
    weights = torch.randint(0, 4, shape, generator=generator) / 4  # many ties
    if is_sorted:
        weights = weights.sort(-1, descending=True).values
    else:
        empty = torch.rand(shape, generator=generator) < 0.3
        experts, weights = experts.masked_fill(empty, E), weights.masked_fill(empty, 0.0)
    ordered, own = by_weight(experts, weights, E)
    for n in range(30):
        for layer in range(3):
            slots_of = list(
                zip(experts[n, layer].tolist(), weights[n, layer].tolist(), strict=True)
            )
            expected = sorted(slots_of, key=lambda slot: (slot[0] == E, -slot[1]))  # stable
            found = zip(ordered[n, layer].tolist(), own[n, layer].tolist(), strict=True)
            assert list(found) == expected


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
