"""Converts configurations and weights of Llama-like families, dense and MoE, both ways.

Their modules carry the names of ours but for the two norms of a block, and their experts have the
same 3-D layout, so weights pass unchanged, bit for bit.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    OlmoeConfig,
    OlmoeForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from .configuration_moescope import MoescopeConfig
from .dense_checkpoints import require

NORMS = {"input_layernorm": "attention_norm", "post_attention_layernorm": "mlp_norm"}
SAME_FIELDS = [
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "hidden_act",
    "max_position_embeddings",
    "initializer_range",
    "tie_word_embeddings",
    "use_cache",
    "pad_token_id",
    "bos_token_id",
    "eos_token_id",
]
BLOCK: dict[str, Any] = {
    "norm_position": "pre",
    "norm_type": "rms",
    "position_type": "rope",
    "gated": True,
    "embedding_norm": False,
    "head_transform": False,
    "head_bias": False,
    "is_causal": True,
}
MOE_BLOCK = BLOCK | {
    "mlp_bias": False,
    "num_shared_experts": 0,
    "first_k_dense": 0,
    "moe_every": 1,
}
EXPERTS = {"num_experts": "num_experts", "num_experts_per_tok": "num_experts_per_tok"}


class LlamaLike(NamedTuple):
    """One family, and how the fields of its configuration map to ours."""

    config_class: Callable[..., PreTrainedConfig]
    model_class: type[PreTrainedModel]
    fields: dict[str, str]
    """Their configuration's field -> ours, besides `SAME_FIELDS`."""
    fixed: dict[str, Any]
    """Our fields that have one value in all models of the family."""
    unset: tuple[str, ...] = ()
    """Their fields that must be off, because our model lacks the feature."""
    weights_sum_to_one: bool | None = None
    """Whether chosen experts' weights are renormalised; None = the field `norm_topk_prob` says."""


FAMILIES: dict[str, LlamaLike] = {
    "llama": LlamaLike(
        LlamaConfig,
        LlamaForCausalLM,
        {name: name for name in ("intermediate_size", "head_dim", "attention_bias", "mlp_bias")},
        BLOCK | {"num_experts": 0, "qk_norm": False},
    ),
    "olmoe": LlamaLike(
        OlmoeConfig,
        OlmoeForCausalLM,
        {"intermediate_size": "moe_intermediate_size", "attention_bias": "attention_bias"}
        | EXPERTS,
        MOE_BLOCK | {"qk_norm": True, "qk_norm_per_head": False, "head_dim": None},
        unset=("clip_qkv",),
    ),
    "mixtral": LlamaLike(
        MixtralConfig,
        MixtralForCausalLM,
        {
            "intermediate_size": "moe_intermediate_size",
            "num_local_experts": "num_experts",
            "num_experts_per_tok": "num_experts_per_tok",
            "head_dim": "head_dim",
        },
        MOE_BLOCK | {"qk_norm": False, "attention_bias": False},
        unset=("sliding_window",),
        weights_sum_to_one=True,
    ),
    "qwen3_moe": LlamaLike(
        Qwen3MoeConfig,
        Qwen3MoeForCausalLM,
        {"moe_intermediate_size": "moe_intermediate_size", "attention_bias": "attention_bias"}
        | EXPERTS
        | {"intermediate_size": "intermediate_size", "head_dim": "head_dim"},
        MOE_BLOCK | {"qk_norm": True, "qk_norm_per_head": True},
        unset=("sliding_window", "mlp_only_layers"),
    ),
}


def read_llama_like(source: PreTrainedModel) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Returns the fields of our configuration, and the weights under our names.

    Raises:
        ValueError: our model lacks a feature of the checkpoint.
    """
    theirs = source.config
    family = FAMILIES[theirs.model_type]
    rope = theirs.rope_parameters
    if rope.get("rope_type", "default") != "default":
        raise ValueError(f"rotary positions of type {rope['rope_type']!r} are not supported")
    require(theirs, decoder_sparse_step=1, **dict.fromkeys(family.unset))
    fields = {name: getattr(theirs, name) for name in SAME_FIELDS} | family.fixed
    fields |= {ours: getattr(theirs, name, None) for name, ours in family.fields.items()}
    fields |= {"norm_eps": theirs.rms_norm_eps, "rope_theta": rope["rope_theta"]}
    if fields["num_experts"]:
        fields.setdefault("intermediate_size", fields["moe_intermediate_size"])
        renormalise = family.weights_sum_to_one or bool(getattr(theirs, "norm_topk_prob", False))
        fields["router"] = {"name": "topk", "renormalise": renormalise}
    prefix = "" if source.get_output_embeddings() is not None else "model."
    weights = {
        prefix + _renamed(name, NORMS): tensor for name, tensor in source.state_dict().items()
    }
    return fields, weights


def misfits(config: MoescopeConfig, family: LlamaLike) -> list[str]:
    """Lists what the family cannot express of our configuration, as `field=value (needs value)`."""
    found = {name: getattr(config, name) for name in family.fixed}
    if found.get("head_dim", "none") == config.hidden_size // config.num_attention_heads:
        found["head_dim"] = None
    wrong = [
        f"{name}={found[name]!r} (needs {needed!r})"
        for name, needed in family.fixed.items()
        if found[name] != needed
    ]
    if "num_experts" in family.fixed:
        return wrong
    router = config.router["name"]
    if not config.num_experts:
        wrong.append("num_experts=0 (needs experts)")
    elif router != "topk":
        wrong.append(f"router.name={router!r} (needs 'topk')")
    elif family.weights_sum_to_one and not _renormalises(config):
        wrong.append("router.renormalise=False (needs True)")
    return wrong


def write_llama_like(
    config: MoescopeConfig, weights: Mapping[str, Tensor], family: LlamaLike
) -> tuple[PreTrainedConfig, dict[str, Tensor]]:
    """Returns their configuration, and our weights under their names; `misfits` must be empty."""
    fields = {name: getattr(config, name) for name in SAME_FIELDS}
    fields |= {theirs: getattr(config, ours) for theirs, ours in family.fields.items()}
    if fields.get("head_dim", 0) is None:  # their own default
        del fields["head_dim"]
    rope = {"rope_type": "default", "rope_theta": config.rope_theta}
    if config.num_experts and family.weights_sum_to_one is None:
        fields["norm_topk_prob"] = _renormalises(config)
    theirs = family.config_class(rms_norm_eps=config.norm_eps, rope_parameters=rope, **fields)
    back = {ours: name for name, ours in NORMS.items()}
    return theirs, {_renamed(name, back): tensor for name, tensor in weights.items()}


def _renormalises(config: MoescopeConfig) -> bool:
    """Whether the chosen experts' weights sum to 1 (softmax ratios do not depend on the order)."""
    return config.router.get("softmax") == "after" or config.router.get("renormalise", True)


def _renamed(name: str, names: Mapping[str, str]) -> str:
    return ".".join(names.get(part, part) for part in name.split("."))
