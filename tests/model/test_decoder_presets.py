"""The decoder presets are the published architectures, in size and in kind."""

import pytest
import torch

from moescope.configs.compose import compose_config
from moescope.model import MoescopeConfig, MoescopeForCausalLM
from moescope.model.llama_layout import FAMILIES, misfits
from moescope.train.build import parameter_counts


def architecture(vocab_size: int, *overrides: str) -> MoescopeConfig:
    config = compose_config(list(overrides))
    router = config.router.model_dump()
    return MoescopeConfig(
        **config.model.model_dump(),
        vocab_size=vocab_size,
        num_experts_per_tok=router.pop("top_k"),
        router=router,
    )


def sizes(config: MoescopeConfig) -> tuple[int, int]:
    """All and active parameters, without memory for them."""
    with torch.device("meta"):
        return parameter_counts(MoescopeForCausalLM(config))


def test_olmoe_is_olmoe_1b_7b() -> None:
    """arXiv 2409.02060, table 10: 6.9 B parameters, 1.3 B of them active."""
    olmoe = architecture(50304, "model=olmoe", "router.top_k=8", "router.renormalise=false")
    total, active = sizes(olmoe)
    theirs = FAMILIES["olmoe"].config_class()
    assert misfits(olmoe, FAMILIES["olmoe"]) == []
    assert total == 6_919_161_856
    assert active == pytest.approx(1.28e9, rel=0.01)
    for name in ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_experts"):
        assert getattr(olmoe, name) == getattr(theirs, name)
    assert olmoe.num_experts_per_tok == theirs.num_experts_per_tok
    assert olmoe.norm_eps == theirs.rms_norm_eps
    assert olmoe.tie_word_embeddings == theirs.tie_word_embeddings
    assert olmoe.rope_theta == theirs.rope_parameters["rope_theta"]
    assert olmoe.hidden_act == theirs.hidden_act


def test_olmoe_tiny_has_the_same_block() -> None:
    tiny = architecture(8192, "model=olmoe_tiny", "router.top_k=4", "router.renormalise=false")
    assert misfits(tiny, FAMILIES["olmoe"]) == []


@pytest.mark.parametrize(
    ("preset", "feed_forward"), [("gptime", (False, "gelu")), ("nanogpt_moe", (True, "silu"))]
)
def test_gpt2_blocks(preset: str, feed_forward: tuple[bool, str]) -> None:
    config = architecture(64, f"model={preset}")
    block = (config.norm_type, config.norm_position, config.position_type)
    assert block == ("layer", "pre", "learned")
    assert (config.gated, config.hidden_act.removesuffix("_pytorch_tanh")) == feed_forward
    assert not config.qk_norm


def test_lamoe_is_a_llama_block_with_grouped_queries() -> None:
    config = architecture(64, "model=lamoe", "router=noisy_topk")
    wrong = misfits(config, FAMILIES["mixtral"])
    assert wrong == ["router.name='noisy_topk' (needs 'topk')"]
    assert (config.num_key_value_heads or 0) < config.num_attention_heads
    assert config.num_experts == 8
