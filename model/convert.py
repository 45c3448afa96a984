"""Converts models of transformers' own families to ours and back, with copies of the weights."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils import logging

from .configuration_moescope import MoescopeConfig
from .dense_checkpoints import read_bert, read_gpt2
from .llama_layout import FAMILIES, misfits, read_llama_like, write_llama_like
from .modeling_moescope import (
    MoescopeForCausalLM,
    MoescopeForMaskedLM,
    MoescopeModel,
    MoescopePreTrainedModel,
)

READERS: dict[str, Callable[[PreTrainedModel], tuple[dict[str, Any], dict[str, Tensor]]]] = {
    "bert": read_bert,
    "gpt2": read_gpt2,
    **dict.fromkeys(FAMILIES, read_llama_like),
}
# their names of activations that we have under another name
_ACTIVATIONS = {"gelu_new": "gelu_pytorch_tanh", "gelu_fast": "gelu_pytorch_tanh"}


def read_checkpoint(source: PreTrainedModel) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Returns the fields of our configuration, and the weights under the names of our models.

    Raises:
        ValueError: no reader serves the family, or our model lacks a feature of the checkpoint.
    """
    family = source.config.model_type
    if family not in READERS:
        raise ValueError(f"cannot read a {family!r} model; supported: {', '.join(READERS)}")
    fields, weights = READERS[family](source)
    fields["hidden_act"] = _ACTIVATIONS.get(fields["hidden_act"], fields["hidden_act"])
    fields["vocab_size"] = weights["model.embed_tokens.weight"].shape[0]
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        fields[name] = getattr(source.config, name, None)
    return {"num_experts": 0} | fields, weights


def import_model(source: PreTrainedModel) -> MoescopePreTrainedModel:
    """Returns our model with the configuration and copies of the weights of a transformers model.

    The logits are the same; for OLMoE, Mixtral and Qwen3-MoE so are the routing decisions.

    Args:
        source: BERT, GPT-2, Llama, OLMoE, Mixtral or Qwen3-MoE, with or without its
            language-model head.

    Returns:
        A masked or causal language model, or the base model where there was no head.

    Raises:
        ValueError: no reader serves the family, or our model lacks a feature of the checkpoint.
    """
    fields, weights = read_checkpoint(source)
    return build_with_weights(MoescopeConfig(**fields), weights, source)


def export_model(model: MoescopePreTrainedModel, family: str | None = None) -> PreTrainedModel:
    """Returns the transformers model that computes what ours does, with copies of its weights.

    Args:
        model: a causal language model.
        family: a key of `llama_layout.FAMILIES`; None = the one that fits.

    Raises:
        ValueError: an unknown family, or one whose blocks are not those of `model`.
    """
    if family is not None and family not in FAMILIES:
        raise ValueError(f"cannot write a {family!r} model; supported: {', '.join(FAMILIES)}")
    dense = model.config.num_experts == 0
    alike = [name for name in FAMILIES if ("num_experts" in FAMILIES[name].fixed) == dense]
    names = alike if family is None else [family]
    tried = {name: misfits(model.config, FAMILIES[name]) for name in names}
    name, wrong = min(tried.items(), key=lambda item: len(item[1]))
    if wrong:
        raise ValueError(f"the model is no {name!r} model: {'; '.join(wrong)}")
    chosen = FAMILIES[name]
    config, weights = write_llama_like(model.config, model.state_dict(), chosen)
    theirs = _filled(chosen.model_class, config, weights, model)
    theirs._weight_conversions = None  # saved with a name for each expert, as the family's files
    return theirs


def build_with_weights(
    config: MoescopeConfig, weights: dict[str, Tensor], source: PreTrainedModel
) -> MoescopePreTrainedModel:
    """Returns our model of `source`'s kind; missing weights (routers) are initialised."""
    if source.get_output_embeddings() is None:
        weights = {
            name.removeprefix("model."): tensor
            for name, tensor in weights.items()
            if name.startswith("model.")
        }
        return _filled(MoescopeModel, config, weights, source)
    kind = MoescopeForCausalLM if config.is_causal else MoescopeForMaskedLM
    return _filled(kind, config, weights, source)


def _filled(kind: Any, config: Any, weights: dict[str, Tensor], source: PreTrainedModel) -> Any:
    """Returns a model in evaluation mode with copies of the weights, in `source`'s dtype."""
    copies = {
        name: tensor.clone(memory_format=torch.contiguous_format)
        for name, tensor in weights.items()
    }
    with _quiet():  # the library would print a table of weights that are new (routers)
        model, report = kind.from_pretrained(
            None,
            config=config,
            state_dict=copies,
            dtype=source.dtype,
            output_loading_info=True,
        )
    missing = [name for name in report["missing_keys"] if ".gate." not in name]
    assert not missing, missing
    assert not report["unexpected_keys"], report["unexpected_keys"]
    if model.can_generate():
        model.generation_config = source.generation_config
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
