"""Our blocks and dense models against transformers' own, with copied weights at toy size."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    OlmoeConfig,
    PreTrainedModel,
    Qwen3MoeConfig,
)
from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock
from transformers.models.olmoe.modeling_olmoe import OlmoeSparseMoeBlock
from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeSparseMoeBlock

from moescope.model import MoescopeConfig, RoutingContext, upcycle
from moescope.model.modeling_moescope import MoescopeSparseMLP

SIZE: dict[str, Any] = {"hidden_size": 16, "num_attention_heads": 2, "num_experts_per_tok": 2}
BLOCKS = {
    "olmoe": (
        OlmoeSparseMoeBlock,
        OlmoeConfig(**SIZE, num_experts=6, intermediate_size=20, norm_topk_prob=False),
        {"renormalise": False},
    ),
    "mixtral": (
        MixtralSparseMoeBlock,
        MixtralConfig(**SIZE, num_local_experts=6, intermediate_size=20),
        {"softmax": "after"},
    ),
    "qwen3_moe": (
        Qwen3MoeSparseMoeBlock,
        Qwen3MoeConfig(**SIZE, num_experts=6, moe_intermediate_size=20, norm_topk_prob=True),
        {"renormalise": True},
    ),
}


@pytest.mark.parametrize("family", BLOCKS)
def test_moe_block_equals_transformers(family: str) -> None:
    block_class, their_config, settings = BLOCKS[family]
    their_config._experts_implementation = "eager"
    theirs: nn.Module = block_class(their_config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(std=0.3, generator=generator)
    config = MoescopeConfig(
        **SIZE, num_experts=6, moe_intermediate_size=20, router={"name": "topk"} | settings
    )
    config._experts_implementation = "moescope_cpu"
    ours = MoescopeSparseMLP(config, layer_idx=0)
    ours.load_state_dict(theirs.state_dict())
    hidden = torch.randn(2, 7, 16, generator=generator).requires_grad_()
    logits = []
    hook = theirs.gate.register_forward_hook(lambda _m, _i, out: logits.append(out[0]))
    expected = theirs(hidden)
    hook.remove()
    got, routing = ours(hidden, RoutingContext(batch_size=2))
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(routing.logits, logits[0])
    direction = torch.randn(got.shape, generator=generator)
    names = [name for name, _ in theirs.named_parameters()]
    for module, output in ((ours, got), (theirs, expected)):
        module.zero_grad()
        output.backward(direction)
    for name in names:
        a, b = ours.get_parameter(name).grad, theirs.get_parameter(name).grad
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def dense_model(family: str, seed: int = 0) -> PreTrainedModel:
    torch.manual_seed(seed)
    small: dict[str, Any] = {"vocab_size": 60, "initializer_range": 0.3}
    if family == "bert":
        config: Any = BertConfig(
            **small,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=24,
            max_position_embeddings=32,
        )
        return BertForMaskedLM(config).eval()
    if family == "gpt2":
        config = GPT2Config(**small, n_embd=16, n_layer=2, n_head=2, n_positions=32)
        return GPT2LMHeadModel(config).eval()
    config = LlamaConfig(
        **small,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=24,
        max_position_embeddings=32,
    )
    return LlamaForCausalLM(config).eval()


def shaken(model: PreTrainedModel) -> PreTrainedModel:
    """Biases and norms away from their initial 0 and 1, where a lost one would not show."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


def token_ids() -> tuple[Tensor, Tensor]:
    ids = torch.randint(1, 60, (3, 9), generator=torch.Generator().manual_seed(2))
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    return ids, mask


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
@pytest.mark.parametrize("num_experts", [0, 4])
def test_dense_and_upcycled_model_equal_transformers(family: str, num_experts: int) -> None:
    dense = shaken(dense_model(family))
    model = upcycle(dense, generator=torch.Generator(), num_experts=num_experts)
    ids, mask = token_ids()
    expected = dense(ids, attention_mask=mask).logits
    got = model(ids, attention_mask=mask).logits
    keep = mask.bool()
    torch.testing.assert_close(got[keep], expected[keep], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_dense_gradients_equal_transformers(family: str) -> None:
    dense = shaken(dense_model(family))
    model = upcycle(dense, generator=torch.Generator(), num_experts=0)
    ids, _ = token_ids()
    dense(ids, labels=ids).loss.backward()
    model(ids, labels=ids).loss.backward()
    embedding = dense.get_input_embeddings().weight.grad
    torch.testing.assert_close(
        model.get_input_embeddings().weight.grad, embedding, rtol=1e-3, atol=1e-5
    )
