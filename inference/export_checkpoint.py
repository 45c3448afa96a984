"""The export stage: one of our checkpoints in, one of transformers' own families out."""

import sys
from typing import Any

import torch

from configs.cli import main
from configs.errors import UserError
from configs.progress import console
from configs.schema import Config
from configs.stage import Stage, StageRun
from model import MoescopeForCausalLM, export_model

from .checkpoint import checkpoint_fingerprint, load_model
from .import_checkpoint import copy_tokenizer, largest_logit_difference


def run(stage: StageRun) -> dict[str, Any]:
    """Exports, compares with the original on random tokens, and writes weights and tokenizer."""
    path = exported_path(stage.config)
    network = load_model(path, torch.device("cpu"))
    if not isinstance(network, MoescopeForCausalLM):
        raise UserError(f"{path}: holds {type(network).__name__}; export takes our decoders only")
    try:
        theirs = export_model(network, stage.config.export.family)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    difference = largest_logit_difference(theirs, network, stage.config.seed)
    theirs.save_pretrained(stage.output_dir)
    console.print(
        f"export: {type(theirs).__name__}; logits differ from ours by at most {difference:.1e}"
    )
    return {
        "family": theirs.config.model_type,
        "tokenizer": copy_tokenizer(path, stage.output_dir),
        "largest_logit_difference": difference,
    }


def exported_path(config: Config) -> str:
    """Returns the checkpoint to export: `export.model`, or what the run's train stage wrote.

    Raises:
        UserError: the run's own model is asked for and not there.
    """
    if config.export.model is None and not config.paths.model.is_dir():
        raise UserError(
            f"{config.paths.model}: no model there; run `moescope train` first, or name a "
            "checkpoint with export.model"
        )
    return config.export.model or str(config.paths.model)


STAGE = Stage(
    name="export",
    summary="Write one of our decoders as a Llama, Mixtral, OLMoE or Qwen3-MoE of transformers.",
    output="exported",
    inputs={},
    sections=("export",),
    run=run,
    external=lambda config: {"model": checkpoint_fingerprint(exported_path(config))},
)

if __name__ == "__main__":
    sys.exit(main([STAGE], sys.argv[1:], "moescope export"))
