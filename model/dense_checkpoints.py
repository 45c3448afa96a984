"""Reads the configuration and weights of dense models: BERT and GPT-2.

Each reader returns the fields of a dense `MoescopeConfig` and the weights under the names of our
dense model ("model." before those of the base model), so that the logits are the same.
"""

from typing import Any

from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

DenseModel = tuple[dict[str, Any], dict[str, Tensor]]


def require(config: PreTrainedConfig, **needed: Any) -> None:
    """Refuse a checkpoint with a feature that our model lacks.

    Raises:
        ValueError: a field of `config` differs from `needed` (None, False and [] count as equal).
    """
    for name, value in needed.items():
        found = getattr(config, name, value)
        if (found or None) != (value or None):
            raise ValueError(f"{name}={found!r} is not supported; only {value!r} is")


def _rename(state: dict[str, Tensor], names: dict[str, str], layers: int) -> dict[str, Tensor]:
    """Rename the weights and biases that are there; `{i}` in a name runs over the layers."""
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
    """Read BERT; its token type 0 is added to the positions, which is exact for single texts."""
    config, state = dense.config, _strip(dense.state_dict(), "bert.")
    require(config, is_decoder=False)
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
        "cls.predictions.transform.dense": "transform.dense",
        "cls.predictions.transform.LayerNorm": "transform.norm",
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
        "hidden_act": config.hidden_act,
        "tie_word_embeddings": config.tie_word_embeddings,
        "initializer_range": config.initializer_range,
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
    """Read GPT-2, which keeps its matrices transposed, and queries, keys and values in one."""
    config, state = dense.config, _strip(dense.state_dict(), "transformer.")
    require(config, scale_attn_by_inverse_layer_idx=False, scale_attn_weights=True)
    require(config, add_cross_attention=False)
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
        "tie_word_embeddings": config.tie_word_embeddings,
        "initializer_range": config.initializer_range,
        "position_type": "learned",
        "gated": False,
        "attention_bias": True,
        "mlp_bias": True,
        "hidden_act": config.activation_function,
        "is_causal": True,
    }
    return fields, _rename(state, names, config.n_layer)
