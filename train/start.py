"""Training that starts from a checkpoint's weights: an imported, upcycled or earlier model."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer

from ..configs.errors import UserError
from ..configs.manifest import Manifest
from ..data_processors.prompt_tokenizer import same_tokenizer
from ..model import MoescopeConfig

# what may differ between the checkpoint and the run: training alone reads it
FREE = ("dropout", "initializer_range", "init_scheme", "use_cache", "router", "vocab_size")


def load_start(
    folder: Path,
    architecture: MoescopeConfig,
    kind: type[Any],
    dataset_dir: Path,
    dataset: Manifest,
) -> Any:
    """Returns a model of this architecture with the checkpoint's weights, in float32.

    Raises:
        UserError: another architecture, another tokenizer, or too small a vocabulary.
    """
    start = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    architecture.head_transform = start.head_transform  # BERT's, which no run's config names
    _check_architecture(folder, architecture, start)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    if not same_tokenizer(tokenizer, dataset_dir, dataset.counts["tokenizer_hash"]):
        raise UserError(
            f"train.start_from={folder}: its tokenizer is not the dataset's; redo `moescope mask` "
            f"with tokenizer=pretrained tokenizer.path={folder}"
        )
    if start.vocab_size < architecture.vocab_size:
        raise UserError(
            f"train.start_from={folder}: its vocabulary has {start.vocab_size} types, the "
            f"dataset's {architecture.vocab_size}"
        )
    architecture.vocab_size = start.vocab_size
    return kind.from_pretrained(folder, config=architecture, dtype=torch.float32)


def _check_architecture(folder: Path, wanted: MoescopeConfig, start: Any) -> None:
    """Refuses weights of another architecture, with the overrides that would say theirs."""
    names = [field.name for field in fields(MoescopeConfig) if not field.name.endswith("_id")]
    own = {name for name in names if name in MoescopeConfig.__annotations__} - {*FREE}
    different = [name for name in names if name in own and _differ(name, wanted, start)]
    overrides = [
        f"router.top_k={start.num_experts_per_tok}"
        if name == "num_experts_per_tok"
        else f"model.{name}={_typed(getattr(start, name))}"
        for name in different
    ]
    if start.num_experts and start.router["name"] != wanted.router["name"]:
        overrides.append(f"router={start.router['name']}")
    if overrides:
        raise UserError(
            f"train.start_from={folder}: another architecture; add {' '.join(overrides)}"
        )


def _differ(name: str, wanted: MoescopeConfig, start: Any) -> bool:
    if name in ("moe_intermediate_size", "num_experts_per_tok") and not start.num_experts:
        return False
    if name == "head_dim":
        return bool(wanted.attention_head_dim != start.attention_head_dim)
    return bool(getattr(wanted, name) != getattr(start, name))


def _typed(value: Any) -> str:
    """Writes a value as the command line takes it."""
    return "null" if value is None else str(value).lower()
