"""From the run's config to a model that fits the dataset."""

import re
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedTokenizerFast

from ..configs.errors import UserError, first_cause
from ..configs.manifest import Manifest
from ..configs.schema import Config
from ..configs.schema_model import MaskedRouter, ModelSection
from ..data_processors.metadata_values import resolve_values
from ..data_processors.tokenizers import tokenizer_facts, tokenizer_hash
from ..model import MoescopeConfig, MoescopeExperts, MoescopeForCausalLM, MoescopeForMaskedLM
from .arguments import check_machine
from .checkpoints import refuse_foreign_checkpoints
from .start import load_start

LanguageModel = MoescopeForMaskedLM | MoescopeForCausalLM


def build_model(
    config: Config, dataset: Manifest, tokenizer: PreTrainedTokenizerFast
) -> LanguageModel:
    """Initialises a model from torch's global generator; its vocabulary is the dataset's.

    With `train.start_from` its weights, and its vocabulary if larger, are that checkpoint's.
    A decoder's start and end tokens are those around the dataset's texts.

    Raises:
        UserError: settings that the architecture refuses, or a document without a value for the
            masked router.
    """
    router = config.router.model_dump(exclude={"top_k"})
    if isinstance(config.router, MaskedRouter) and config.model.num_experts:
        router |= resolve_values(config.router, config.model.num_experts, config.paths.dataset)
    ends: dict[str, Any] = {}
    if config.model.is_causal:
        begin, end = tokenizer_facts(tokenizer).cls_sep
        in_blocks = dataset.config["dataset"]["packing"] == "blocks"
        ends = {"bos_token_id": end if in_blocks else begin, "eos_token_id": end}
    vocabulary = {name: dataset.counts[name] for name in ("vocab_size", "pad_token_id")}
    architecture = _architecture(config, router, **vocabulary, **ends)
    kind = MoescopeForCausalLM if architecture.is_causal else MoescopeForMaskedLM
    if config.train.start_from is None:
        model = kind(architecture)
    else:
        model = load_start(
            config.train.start_from, architecture, kind, config.paths.dataset, dataset
        )
    if config.train.attention != "auto":
        model.set_attn_implementation(config.train.attention)
    return model


def check_architecture(config: Config) -> None:
    """Refuses settings that contradict each other or this machine; needs no dataset.

    Raises:
        UserError: names the keys and their values; or somebody's files stand where checkpoints go.
    """
    check_machine(config.train)
    refuse_foreign_checkpoints(config.paths.checkpoints)
    _architecture(config, _router_parameters(config))


def planned_architecture(config: Config, vocab_size: int) -> MoescopeConfig:
    """The model that a config asks for, with a vocabulary of this size.

    Raises:
        UserError: settings that contradict each other.
    """
    return _architecture(config, _router_parameters(config), vocab_size=vocab_size)


def _router_parameters(config: Config) -> dict[str, Any]:
    router = config.router.model_dump(exclude={"top_k"})
    if isinstance(config.router, MaskedRouter) and not config.router.values:
        # the dataset will say which values there are
        router["values"] = list(range(max(len(config.router.permitted), 1)))
    return router


def _architecture(config: Config, router: dict[str, Any], **others: Any) -> MoescopeConfig:
    """Builds the configuration, whose own checks speak of the run's config keys here."""
    try:
        return MoescopeConfig(
            **config.model.model_dump(),
            num_experts_per_tok=config.router.top_k,
            router=router,
            **others,
        )
    except (ValueError, StrictDataclassError) as error:
        raise UserError(_with_keys(str(first_cause(error)))) from error


def _with_keys(message: str) -> str:
    """Puts the config's keys in the place of the architecture's field names."""
    message = message.replace("num_experts_per_tok", "router.top_k")
    fields = "|".join(ModelSection.model_fields)
    return re.sub(rf"(?<![\w.])({fields})(?!\w)", r"model.\1", message)


def check_dataset(config: Config, dataset: Manifest, tokenizer: PreTrainedTokenizerFast) -> None:
    """Refuses a dataset that the tokenizer beside it or the model cannot serve.

    Raises:
        UserError: the tokenizer is not the dataset's, its examples are too long for the model,
            it has no masks for an encoder to predict, or documents attend across what a masked
            router is to keep apart.
    """
    folder, counts = config.paths.dataset, dataset.counts
    found = tokenizer_hash(tokenizer)
    if found != counts["tokenizer_hash"]:
        raise UserError(
            f"{folder}/tokenizer: its hash {found} is not the {counts['tokenizer_hash']} that the "
            "dataset was made with; rerun `moescope mask` with force=true"
        )
    if not config.model.is_causal and dataset.config["masking"]["name"] == "none":
        raise UserError(
            f"{folder}: made with masking=none, so an encoder has nothing to predict; set "
            "model.is_causal=true (a decoder preset), or redo `moescope mask` with masking=token"
        )
    if config.router.name == "masked" and dataset.config["dataset"]["attend_across"]:
        raise UserError(
            f"router=masked: in {folder} documents attend to others of their example, whatever "
            "their metadata; redo `moescope mask` with dataset.attend_across=false"
        )
    if counts["sequence_length"] > config.model.max_position_embeddings:
        raise UserError(
            f"model.max_position_embeddings={config.model.max_position_embeddings} is below the "
            f"dataset's sequence length of {counts['sequence_length']} ({folder})"
        )


def parameter_counts(model: LanguageModel) -> tuple[int, int]:
    """Number of parameters, and of those that one token meets (k of E experts)."""
    total = sum(parameter.numel() for parameter in model.parameters())
    experts = sum(
        parameter.numel()
        for module in model.modules()
        if isinstance(module, MoescopeExperts)
        for parameter in module.parameters()
    )
    if not experts:
        return total, total
    idle = model.config.num_experts - model.config.num_experts_per_tok
    return total, total - experts * idle // model.config.num_experts
