"""Small random checkpoints with tokenizers of their own, for what answers prompts."""

import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import OlmoeConfig, OlmoeForCausalLM, PreTrainedTokenizerFast

from moescope.configs.schema_dataset import BpeTokenizer, CharTokenizer
from moescope.data_processors.tokenizers import train_tokenizer
from moescope.model import MoescopeConfig, MoescopeForCausalLM, MoescopeForMaskedLM

TEXT = "The state of the union, [seen] from the old railway: it's \x1b[31mred\x07 = {so}? Añ 1850."
CONTEXT = 48
YEARS = {"column": "year", "values": [1800, 1850, 1900], "last": 1949, "policy": "causal"}
SIZES: dict[str, Any] = {
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "moe_intermediate_size": 16,
    "num_experts": 6,
    "num_experts_per_tok": 2,
    "first_k_dense": 1,
    "initializer_range": 0.3,
    "max_position_embeddings": CONTEXT,
}


def _texts() -> Iterator[list[str]]:
    yield [*[TEXT] * 3, string.printable.strip()]


def char_tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(CharTokenizer(name="char", min_frequency=1), _texts, CONTEXT)


def bpe_tokenizer() -> PreTrainedTokenizerFast:
    config = BpeTokenizer(name="bpe", vocab_size=300, min_frequency=2, lowercase=False)
    return train_tokenizer(config, _texts, CONTEXT)


def save_decoder(folder: Path, **changes: Any) -> Path:
    tokenizer = char_tokenizer()
    torch.manual_seed(0)
    config = MoescopeConfig(
        vocab_size=len(tokenizer),
        is_causal=True,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
        **SIZES | {"router": {"name": "topk"}} | changes,
    )
    MoescopeForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_encoder(folder: Path) -> Path:
    tokenizer = bpe_tokenizer()
    torch.manual_seed(0)
    config = MoescopeConfig(vocab_size=len(tokenizer), **SIZES | {"router": {"name": "topk"}})
    MoescopeForMaskedLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_olmoe(folder: Path) -> Path:
    """A checkpoint of transformers' own OLMoE, with a tokenizer that puts nothing around texts."""
    tokenizer = bpe_tokenizer()
    torch.manual_seed(0)
    config = OlmoeConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        num_experts=4,
        num_experts_per_tok=2,
        max_position_embeddings=CONTEXT,
        bos_token_id=None,
        eos_token_id=tokenizer.sep_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    OlmoeForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
