"""Whole decoders against transformers' own; import and export, bit for bit."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    GPT2Config,
    LlamaConfig,
    MixtralConfig,
    ModernBertConfig,
    ModernBertForMaskedLM,
    OlmoeConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen3MoeConfig,
    ViTConfig,
    ViTModel,
)

from moescope.model import (
    MoescopeConfig,
    MoescopeForCausalLM,
    MoescopeForMaskedLM,
    balance_losses,
    export_model,
    import_model,
    upcycle,
)
from tests.model.test_parity import dense_model, shaken, token_ids

SIZE: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 20,
    "max_position_embeddings": 32,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
MOE: dict[str, Any] = SIZE | {"num_experts_per_tok": 2}
QWEN: dict[str, Any] = {"head_dim": 8, "moe_intermediate_size": 12}
DECODERS: dict[str, PreTrainedConfig] = {
    "olmoe": OlmoeConfig(**MOE, num_experts=6),
    "olmoe_tied": OlmoeConfig(
        **MOE,
        num_experts=6,
        norm_topk_prob=True,
        attention_bias=True,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 500.0},
    ),
    "mixtral": MixtralConfig(**MOE, num_local_experts=6, sliding_window=None),
    "mixtral_wide": MixtralConfig(**MOE, num_local_experts=6, head_dim=8),
    "qwen3_moe": Qwen3MoeConfig(**MOE, **QWEN, num_experts=6, norm_topk_prob=True),
    "llama": LlamaConfig(**SIZE, attention_bias=True, mlp_bias=True),
}
MOE_DECODERS = [name for name in DECODERS if name != "llama"]


def decoder(name: str) -> PreTrainedModel:
    torch.manual_seed(0)
    return shaken(AutoModelForCausalLM.from_config(DECODERS[name])).eval()


@pytest.mark.parametrize("name", DECODERS)
def test_logits_loss_and_gradients_equal_transformers(name: str) -> None:
    theirs = decoder(name)
    ours = import_model(theirs)
    assert isinstance(ours, MoescopeForCausalLM)
    ids, mask = token_ids()
    labels = ids.masked_fill(mask == 0, -100)
    expected = theirs(ids, attention_mask=mask, labels=labels)
    got = ours(ids, attention_mask=mask, labels=labels)
    keep = mask.bool()
    torch.testing.assert_close(got.logits[keep], expected.logits[keep], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(got.loss, expected.loss, rtol=1e-5, atol=1e-5)
    got.loss.backward()
    expected.loss.backward()
    names = {"input_layernorm": "attention_norm", "post_attention_layernorm": "mlp_norm"}
    compared = 0
    for parameter_name, parameter in theirs.named_parameters():
        own = ".".join(names.get(part, part) for part in parameter_name.split("."))
        gradient = ours.get_parameter(own).grad
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-3, atol=1e-5)
        compared += 1
    assert compared == len(list(ours.parameters()))


@pytest.mark.parametrize("name", MOE_DECODERS)
def test_their_balance_loss_is_top_k_times_the_switch_loss_of_one_layer(name: str) -> None:
    """Over several layers theirs pools the layers' statistics, ours averages their losses."""
    theirs = decoder(name)
    theirs.model.layers = theirs.model.layers[:1]
    theirs.config.num_hidden_layers = 1
    ours = import_model(theirs)
    ids, mask = token_ids()
    aux = theirs(ids, attention_mask=mask, output_router_logits=True).aux_loss
    routing = ours(ids, attention_mask=mask, output_routing=True).routing
    switch = balance_losses(routing, mask, ["switch"])["switch"]
    torch.testing.assert_close(aux, 2 * switch, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", DECODERS)
def test_there_and_back_changes_no_bit(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    theirs = decoder(name).to(dtype)
    import_model(theirs).save_pretrained(tmp_path / "ours")
    ours = AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    assert isinstance(ours, MoescopeForCausalLM)
    assert ours.dtype == dtype
    export_model(ours).save_pretrained(tmp_path / "back")
    back = AutoModelForCausalLM.from_pretrained(tmp_path / "back")
    assert type(back) is type(theirs)
    before, after = theirs.state_dict(), back.state_dict()
    assert before.keys() == after.keys()
    for key, tensor in before.items():
        assert after[key].dtype == dtype
        assert torch.equal(after[key], tensor), key
    ours_alone = {"transformers_version", "architectures", "dtype", "_name_or_path"}
    a, b = theirs.config.to_dict(), back.config.to_dict()
    assert {k: v for k, v in b.items() if k not in ours_alone} == {
        k: v for k, v in a.items() if k not in ours_alone
    }


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("olmoe", "mlp.experts.5.gate_proj.weight"),
        ("mixtral", "block_sparse_moe.experts.5.w1.weight"),
        ("qwen3_moe", "mlp.experts.5.gate_proj.weight"),
    ],
)
def test_files_name_each_expert_as_others_read_them(name: str, tensor: str, tmp_path: Path) -> None:
    theirs = decoder(name)
    export_model(import_model(theirs)).save_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    ours, known = (
        load_file(tmp_path / place / "model.safetensors") for place in ("ours", "theirs")
    )
    assert ours.keys() == known.keys()
    assert f"model.layers.0.{tensor}" in ours
    assert all(torch.equal(ours[key], known[key]) for key in known)


def test_copies_share_no_memory_with_their_source() -> None:
    theirs = decoder("olmoe")
    ours = import_model(theirs)
    with torch.no_grad():
        theirs.lm_head.weight.zero_()
        theirs.model.layers[0].mlp.experts.down_proj.zero_()
    assert ours.lm_head.weight.any()
    assert ours.model.layers[0].mlp.experts.down_proj.any()


def test_a_dense_decoder_upcycled_is_a_mixtral() -> None:
    theirs = dense_model("llama")
    ours = upcycle(theirs, generator=torch.Generator(), num_experts=4)
    back = export_model(ours)
    assert back.config.model_type == "mixtral"
    ids, _ = token_ids()
    torch.testing.assert_close(back(ids).logits, theirs(ids).logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "family", "message"),
    [
        ({"norm_type": "layer"}, "olmoe", "norm_type='layer' .needs 'rms'"),
        ({"router": {"name": "sigmoid"}}, None, "no 'mixtral' model: router.name='sigmoid'"),
        ({"num_shared_experts": 1}, None, "num_shared_experts=1 .needs 0"),
        ({"router": {"name": "topk", "renormalise": False}}, "mixtral", "renormalise=False"),
        ({"num_experts": 0}, "mixtral", "num_experts=0 .needs experts"),
        ({}, "gpt3", "cannot write a 'gpt3' model; supported: llama, olmoe"),
    ],
)
def test_what_a_family_cannot_express_is_refused(
    changes: dict[str, Any], family: str | None, message: str
) -> None:
    block = {"norm_type": "rms", "is_causal": True, "vocab_size": 60, "hidden_size": 16}
    config = MoescopeConfig(**block | changes)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        export_model(MoescopeForCausalLM(config), family)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (OlmoeConfig(**MOE, num_experts=4, clip_qkv=8.0), "clip_qkv=8.0 is not supported"),
        (MixtralConfig(**MOE, sliding_window=16), "sliding_window=16 is not supported"),
        (
            LlamaConfig(
                **SIZE,
                rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0},
            ),
            "type 'linear' are not supported",
        ),
        (GPT2Config(n_embd=16, n_layer=1, n_head=2, scale_attn_by_inverse_layer_idx=True), "scale"),
        (BertConfig(**SIZE | {"num_key_value_heads": 4}, is_decoder=True), "is_decoder=True"),
    ],
)
def test_what_we_have_nothing_like_is_refused(config: PreTrainedConfig, message: str) -> None:
    source = AutoModelForCausalLM.from_config(config)
    with pytest.raises(ValueError, match=message):
        import_model(source)


def test_an_unknown_family_is_answered_with_the_known_ones() -> None:
    vit = ViTModel(ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1))
    with pytest.raises(ValueError, match="'vit' model; supported: bert, gpt2, llama, olmoe"):
        import_model(vit)


def test_modernbert_differs_by_its_first_norm_and_local_attention_alone() -> None:
    """With every layer global, only block 0 (no norm before attention) is not ours by config."""
    config = ModernBertConfig(
        vocab_size=60,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        global_attn_every_n_layers=1,
        max_position_embeddings=32,
        pad_token_id=0,
        reference_compile=False,
    )
    torch.manual_seed(0)
    theirs = shaken(ModernBertForMaskedLM(config)).eval()
    ours = modernbert_here(theirs)
    ids, mask = token_ids()
    expected, got = (
        model(ids, attention_mask=mask).logits[mask.bool()] for model in (theirs, ours)
    )
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def modernbert_here(theirs: PreTrainedModel) -> MoescopeForMaskedLM:
    """Our encoder with ModernBERT's weights; its norms and head have no biases: ours are 0."""
    source = theirs.config
    ours = MoescopeForMaskedLM(
        MoescopeConfig(
            vocab_size=source.vocab_size,
            hidden_size=source.hidden_size,
            intermediate_size=source.intermediate_size,
            num_hidden_layers=source.num_hidden_layers,
            num_attention_heads=source.num_attention_heads,
            num_experts=0,
            embedding_norm=True,
            hidden_act="gelu",
            norm_eps=source.norm_eps,
            rope_theta=source.rope_parameters["full_attention"]["rope_theta"],
            head_transform=True,
            head_bias=True,
        )
    ).eval()
    ours.model.layers[0].attention_norm = torch.nn.Identity()
    theirs_state, weights = theirs.state_dict(), {}
    for name, tensor in ours.state_dict().items():
        weights[name] = torch.zeros_like(tensor) if name.endswith("bias") else tensor
    for i in range(source.num_hidden_layers):
        block = f"model.layers.{i}."
        query_key_value = theirs_state[f"{block}attn.Wqkv.weight"].chunk(3)
        for part, letter in zip(query_key_value, "qkv", strict=True):
            weights[f"{block}self_attn.{letter}_proj.weight"] = part
        weights[f"{block}self_attn.o_proj.weight"] = theirs_state[f"{block}attn.Wo.weight"]
        gate, up = theirs_state[f"{block}mlp.Wi.weight"].chunk(2)
        weights |= {f"{block}mlp.gate_proj.weight": gate, f"{block}mlp.up_proj.weight": up}
        weights[f"{block}mlp.down_proj.weight"] = theirs_state[f"{block}mlp.Wo.weight"]
        weights[f"{block}mlp_norm.weight"] = theirs_state[f"{block}mlp_norm.weight"]
        if i:
            weights[f"{block}attention_norm.weight"] = theirs_state[f"{block}attn_norm.weight"]
    pairs = {
        "model.embed_tokens.weight": "model.embeddings.tok_embeddings.weight",
        "model.embedding_norm.weight": "model.embeddings.norm.weight",
        "model.norm.weight": "model.final_norm.weight",
        "transform.dense.weight": "head.dense.weight",
        "transform.norm.weight": "head.norm.weight",
        "lm_head.weight": "decoder.weight",
        "lm_head.bias": "decoder.bias",
    }
    weights |= {own: theirs_state[their] for own, their in pairs.items()}
    ours.load_state_dict(weights)
    return ours
