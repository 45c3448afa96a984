"""From Hydra's composed tree to a checked `Config`; every mistake becomes one line."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from .errors import UserError, nearest, shown
from .plugins import load_plugins
from .schema import Config
from .section import Section, subsections


def load_config(tree: DictConfig) -> Config:
    """Validates a composed tree.

    Raises:
        UserError: a key that does not exist, a value out of range, or settings that contradict
            each other; names the key, its value and what is accepted.
    """
    load_plugins(tree.plugins)
    try:
        values = OmegaConf.to_container(tree, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or ""
        if "Missing mandatory value" in str(error):
            raise UserError(f"{key}: needs a value; set {key}=...") from error
        raise UserError(f"config: {str(error).splitlines()[0]}") from error
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise UserError(describe(error, values)) from error


def describe(error: ValidationError, values: Any) -> str:
    """Puts the first of pydantic's complaints into one line for a user."""
    first = error.errors()[0]
    path = _plain_path(first["loc"], values)
    message = first["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if first["type"] == "value_error":
        return f"{path}: {message}" if path else message
    if first["type"] == "extra_forbidden":
        return unknown_key(path)
    if first["type"] == "missing":
        return f"{path}: needs a value"
    return f"{path}={shown(first['input'])}: {message}"


# what others call it → what it is called here
ALIASES = {
    "lr": "learning_rate",
    "bs": "batch_size",
    "batch": "batch_size",
    "epoch": "epochs",
    "num_epochs": "epochs",
    "num_train_epochs": "epochs",
    "steps": "max_steps",
    "num_steps": "max_steps",
    "max_iters": "max_steps",
    "iterations": "max_steps",
    "accumulation": "gradient_accumulation",
    "grad_accum": "gradient_accumulation",
    "wd": "weight_decay",
    "beta2": "adam_beta2",
    "clip": "max_grad_norm",
    "grad_clip": "max_grad_norm",
    "warmup_steps": "warmup",
    "warmup_ratio": "warmup",
    "scheduler": "schedule",
    "lr_scheduler": "schedule",
    "min_lr": "floor",
    "workers": "num_workers",
    "dtype": "precision",
    "fp16": "precision",
    "bf16": "precision",
    "layers": "num_hidden_layers",
    "num_layers": "num_hidden_layers",
    "n_layer": "num_hidden_layers",
    "n_layers": "num_hidden_layers",
    "depth": "num_hidden_layers",
    "heads": "num_attention_heads",
    "num_heads": "num_attention_heads",
    "n_head": "num_attention_heads",
    "n_heads": "num_attention_heads",
    "hidden_dim": "hidden_size",
    "d_model": "hidden_size",
    "dim": "hidden_size",
    "width": "hidden_size",
    "n_embd": "hidden_size",
    "ffn_dim": "intermediate_size",
    "experts": "num_experts",
    "n_experts": "num_experts",
    "num_local_experts": "num_experts",
    "k": "top_k",
    "num_experts_per_tok": "top_k",
    "block_size": "sequence_length",
    "seq_len": "sequence_length",
    "max_length": "sequence_length",
    "max_seq_len": "sequence_length",
    "length": "sequence_length",
    "context": "max_position_embeddings",
    "vocab": "vocab_size",
    "mask_prob": "probability",
    "mlm_probability": "probability",
    "label_column": "topic_column",
    "file": "path",
    "folder": "path",
}


def _meant(path: str, keys: list[str]) -> str:
    """Names the key that has another name elsewhere, " (did you mean ...?)"; else the nearest."""
    section, _, last = path.rpartition(".")
    name = ALIASES.get(last.lower())
    same = [key for key in keys if name and key.rpartition(".")[2] == name]
    here = [key for key in same if key.rpartition(".")[0] == section] or same
    return f" (did you mean {here[0]!r}?)" if here else nearest(path, keys)


def unknown_key(path: str) -> str:
    """Says what is wrong with a key that the chosen sections do not have."""
    keys = [key for key, _ in walk(Config)]
    if path in keys:
        group = path.partition(".")[0]
        return f"{path}: the chosen {group} has no such key; see --help for the one that does"
    return f"{path}: no such key{_meant(path, keys)}; see --help"


def walk(section: type[Section], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yields (dotted key, field) of every leaf; a key shared by several choices comes once."""
    seen = set()
    for name, info in section.model_fields.items():
        kinds = subsections(info)
        nested = chain.from_iterable(walk(kind, f"{prefix}{name}.") for kind in kinds)
        for path, leaf in nested if kinds else [(f"{prefix}{name}", info)]:
            if path not in seen:
                seen.add(path)
                yield path, leaf


def _plain_path(location: tuple[int | str, ...], values: Any) -> str:
    """Drops the union tags that pydantic puts into a location ("source.files.path")."""
    parts: list[str] = []
    node = values
    for part in location:
        if isinstance(node, dict) and part not in node and part == node.get("name"):
            continue
        parts.append(str(part))
        node = node.get(part) if isinstance(node, dict) else None
    return ".".join(parts)
