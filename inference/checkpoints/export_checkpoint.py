"""The export stage: converts one of our checkpoints to a family of transformers' own."""

import sys
from typing import Any

import torch

from ...configs.cli import main
from ...configs.errors import UserError
from ...configs.progress import console
from ...configs.stage import StageRun
from ...configs.stages import EXPORT
from ...model import MoescopeForCausalLM, export_model
from .fingerprints import exported_path
from .import_checkpoint import copy_tokenizer, largest_logit_difference
from .load_checkpoint import load_model


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
        "tokenizer": copy_tokenizer(path, stage.output_dir, network.config.bos_token_id),
        "largest_logit_difference": difference,
    }


if __name__ == "__main__":
    sys.exit(main([EXPORT], sys.argv[1:], "moescope export"))
