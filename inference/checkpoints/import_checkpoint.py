"""The import stage: converts a checkpoint of transformers to ours, as it is or upcycled."""

import sys
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel, set_seed

from ...configs.cli import main
from ...configs.errors import UserError, first_cause
from ...configs.progress import console
from ...configs.schema import Config
from ...configs.stage import StageRun
from ...configs.stages import IMPORT
from ...data_processors.prompt_tokenizer import prompt_tokenizer
from ...model import import_model, upcycle
from ...model.convert import READERS
from ...train.build import parameter_counts
from .fingerprints import source_of
from .load_checkpoint import load_model


def run(stage: StageRun) -> dict[str, Any]:
    """Imports, compares with the source on random tokens, and writes weights and tokenizer."""
    config = stage.config
    source_path = source_of(config)
    check_family(source_path)
    source = load_model(source_path, torch.device("cpu"))
    try:
        network = converted(source, config)
    except (ValueError, StrictDataclassError) as error:
        raise UserError(f"{source_path}: {first_cause(error)}") from error
    difference = largest_logit_difference(source, network, config.seed)
    network.save_pretrained(stage.output_dir)
    has_tokenizer = copy_tokenizer(source_path, stage.output_dir)
    parameters, active_parameters = parameter_counts(network)
    console.print(
        f"import: {type(source).__name__} as {type(network).__name__}, {parameters:,} parameters; "
        f"logits differ from the source's by at most {difference:.1e}",
        soft_wrap=True,
    )
    if not has_tokenizer:
        console.print(f"import: {source_path} has no tokenizer; the weights come alone")
    return {
        "family": source.config.model_type,
        "parameters": parameters,
        "active_parameters": active_parameters,
        "tokenizer": has_tokenizer,
        "largest_logit_difference": difference,
    }


def check_family(path: str) -> None:
    """Refuses a checkpoint of a family that import cannot read.

    Raises:
        UserError: the family, and those that are read.
    """
    try:
        family = AutoConfig.from_pretrained(path, trust_remote_code=False).model_type
    except (OSError, ValueError, KeyError):
        return  # loading says what is wrong
    if family not in READERS:
        raise UserError(f"{path}: a {family!r} model; import reads {', '.join(READERS)}")


def converted(source: PreTrainedModel, config: Config) -> Any:
    """Returns our model: the same as the source, or upcycled with `checkpoint.num_experts`."""
    settings = config.checkpoint
    if not settings.num_experts:
        return import_model(source)
    set_seed(config.seed)  # the fresh routers
    router = config.router.model_dump()
    return upcycle(
        source,
        generator=torch.Generator().manual_seed(config.seed),
        noise=settings.noise,
        reinitialise=settings.reinitialise,
        num_experts=settings.num_experts,
        num_experts_per_tok=router.pop("top_k"),
        moe_every=settings.moe_every,
        first_k_dense=settings.first_k_dense,
        router=router,
    )


@torch.inference_mode()
def largest_logit_difference(source: PreTrainedModel, network: Any, seed: int) -> float:
    """Returns max |logit - logit| of the two models over 2 x 16 random tokens."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(source.config.vocab_size, (2, 16), generator=generator)
    ones = torch.ones_like(ids)
    ours, theirs = (m(input_ids=ids, attention_mask=ones).logits for m in (network, source))
    return float((ours.float() - theirs.float()).abs().max())


def copy_tokenizer(path: str, folder: Path, begin_id: int | None = None) -> bool:
    """Saves the checkpoint's tokenizer into `folder`; False when it has none.

    With `begin_id`, the first token of a decoder's texts, as one for prompts.
    """
    source = Path(path)
    # without these, transformers makes an empty tokenizer up from the model's family
    known = [source / "tokenizer_config.json", source / "tokenizer.json"]
    if source.is_dir() and not any(file.is_file() for file in known):
        return False
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    except (OSError, ValueError, KeyError):
        return False
    if begin_id is not None:
        tokenizer = prompt_tokenizer(tokenizer, begin_id)
    tokenizer.save_pretrained(folder)
    return True


if __name__ == "__main__":
    sys.exit(main([IMPORT], sys.argv[1:], "moescope import"))
