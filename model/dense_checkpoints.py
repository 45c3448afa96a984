"""Reading BERT-like, GPT-2-like and Llama-like dense models: their configuration and weights here.

Each reader returns the fields of a dense `MoescopeConfig` and the weights under the names of our
dense model ("model." before those of the base model), so that the logits are the same.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

DenseModel = tuple[dict[str, Any], dict[str, Tensor]]
# one formula, two names
_ACTIVATIONS = {"gelu_new": "gelu_pytorch_tanh", "gelu_fast": "gelu_pytorch_tanh"}


def _rename(state: dict[str, Tensor], names: dict[str, str], layers: int) -> dict[str, Tensor]:
    """Pick and rename weights and biases; `{i}` runs over the layers; absent ones are left out."""
    renamed = {}
    for old, new in names.items():
        for i in range(layers if "{i}" in old else 1):
            for kind in ("weight", "bias"):
                source = f"{old.format(i=i)}.{kind}"
                if source in state:
                    renamed[f"{new.format(i=i)}.{kind}"] = state[source]
    return renamed


def _strip(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items()}


def read_bert(dense: PreTrainedModel) -> DenseModel:
    """Token types are folded into the positions: exact for single segments (type 0)."""
    config, state = dense.config, _strip(dense.state_dict(), "bert.")
    block, ours = "encoder.layer.{i}.", "model.layers.{i}."
    names = {
        "embeddings.word_embeddings": "model.embed_tokens",
        "embeddings.LayerNorm": "model.embedding_norm",
        f"{block}attention.self.query": f"{ours}self_attn.q_proj",
        f"{block}attention.self.key": f"{ours}self_attn.k_proj",
        f"{block}attention.self.value": f"{ours}self_attn.v_proj",
        f"{block}attention.output.dense": f"{ours}self_attn.o_proj",
        f"{block}attention.output.LayerNorm": f"{ours}attention_norm",
        f"{block}intermediate.dense": f"{ours}mlp.up_proj",
        f"{block}output.dense": f"{ours}mlp.down_proj",
        f"{block}output.LayerNorm": f"{ours}mlp_norm",
        "cls.predictions.transform.dense": "head.dense",
        "cls.predictions.transform.LayerNorm": "head.norm",
        "cls.predictions.decoder": "lm_head",
    }
    weights = _rename(state, names, config.num_hidden_layers)
    positions = state["embeddings.position_embeddings.weight"]
    types = state["embeddings.token_type_embeddings.weight"]
    weights["model.embed_positions.weight"] = positions + types[0]
    fields = {
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "intermediate_size": config.intermediate_size,
        "max_position_embeddings": config.max_position_embeddings,
        "norm_eps": config.layer_norm_eps,
        "norm_position": "post",
        "embedding_norm": True,
        "position_type": "learned",
        "gated": False,
        "attention_bias": True,
        "mlp_bias": True,
        "head_transform": True,
        "head_bias": True,
    }
    return fields, weights


def read_gpt2(dense: PreTrainedModel) -> DenseModel:
    """GPT-2 keeps its matrices transposed and queries, keys and values in one."""
    config, state = dense.config, _strip(dense.state_dict(), "transformer.")
    for i in range(config.n_layer):
        for name in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"):
            state[f"h.{i}.{name}.weight"] = state[f"h.{i}.{name}.weight"].T
        for kind in ("weight", "bias"):
            parts = state.pop(f"h.{i}.attn.c_attn.{kind}").chunk(3)
            for part, letter in zip(parts, "qkv", strict=True):
                state[f"h.{i}.attn.{letter}.{kind}"] = part
    ours = "model.layers.{i}."
    names = {
        "wte": "model.embed_tokens",
        "wpe": "model.embed_positions",
        "h.{i}.ln_1": f"{ours}attention_norm",
        "h.{i}.attn.q": f"{ours}self_attn.q_proj",
        "h.{i}.attn.k": f"{ours}self_attn.k_proj",
        "h.{i}.attn.v": f"{ours}self_attn.v_proj",
        "h.{i}.attn.c_proj": f"{ours}self_attn.o_proj",
        "h.{i}.ln_2": f"{ours}mlp_norm",
        "h.{i}.mlp.c_fc": f"{ours}mlp.up_proj",
        "h.{i}.mlp.c_proj": f"{ours}mlp.down_proj",
        "ln_f": "model.norm",
        "lm_head": "lm_head",
    }
    fields = {
        "hidden_size": config.n_embd,
        "num_hidden_layers": config.n_layer,
        "num_attention_heads": config.n_head,
        "intermediate_size": config.n_inner or 4 * config.n_embd,
        "max_position_embeddings": config.n_positions,
        "norm_eps": config.layer_norm_epsilon,
        "position_type": "learned",
        "gated": False,
        "attention_bias": True,
        "mlp_bias": True,
        "hidden_act": config.activation_function,
        "is_causal": True,
    }
    return fields, _rename(state, names, config.n_layer)


def read_llama(dense: PreTrainedModel) -> DenseModel:
    """Llama and kin with plain RoPE."""
    config = dense.config
    rope = config.rope_parameters
    if rope.get("rope_type", "default") != "default":
        raise ValueError(f"rotary positions of type {rope['rope_type']!r} are not supported")
    theirs, ours = "layers.{i}.", "model.layers.{i}."
    names = {
        "embed_tokens": "model.embed_tokens",
        f"{theirs}input_layernorm": f"{ours}attention_norm",
        f"{theirs}post_attention_layernorm": f"{ours}mlp_norm",
        "norm": "model.norm",
        "lm_head": "lm_head",
    }
    for name in ("self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o"):
        names[f"{theirs}{name}_proj"] = f"{ours}{name}_proj"
    for name in ("gate", "up", "down"):
        names[f"{theirs}mlp.{name}_proj"] = f"{ours}mlp.{name}_proj"
    fields = {
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "num_key_value_heads": config.num_key_value_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.intermediate_size,
        "max_position_embeddings": config.max_position_embeddings,
        "norm_eps": config.rms_norm_eps,
        "norm_type": "rms",
        "rope_theta": rope["rope_theta"],
        "attention_bias": config.attention_bias,
        "mlp_bias": config.mlp_bias,
        "is_causal": True,
    }
    state = _strip(dense.state_dict(), "model.")
    return fields, _rename(state, names, config.num_hidden_layers)


READERS: dict[str, Callable[[PreTrainedModel], DenseModel]] = {
    "bert": read_bert,
    "gpt2": read_gpt2,
    "llama": read_llama,
}


def read_dense(dense: PreTrainedModel) -> DenseModel:
    """Fields and weights of a dense model.

    Raises:
        ValueError: a family that no reader serves.
    """
    family = dense.config.model_type
    if family not in READERS:
        raise ValueError(f"cannot read a {family!r} model; supported: {', '.join(READERS)}")
    fields, weights = READERS[family](dense)
    activation = fields.get("hidden_act", getattr(dense.config, "hidden_act", "gelu"))
    fields["hidden_act"] = _ACTIVATIONS.get(activation, activation)
    fields["vocab_size"] = weights["model.embed_tokens.weight"].shape[0]
    fields["tie_word_embeddings"] = bool(getattr(dense.config, "tie_word_embeddings", True))
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        fields[name] = getattr(dense.config, name, None)
    return fields, weights
