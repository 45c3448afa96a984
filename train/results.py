"""What training has come to: figures for the manifest, a line for the user, a model to publish."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from ..configs.manifest import Manifest
from ..configs.progress import console
from ..data_processors.prompt_tokenizer import prompt_tokenizer
from .build import LanguageModel, parameter_counts
from .trainer import MoescopeTrainer
from .unigram import tokens_per_byte, unigram_entropy
from .weights import hash_weights


def tokens_by(step: int, records: Sequence[Mapping[str, Any]]) -> int:
    """Returns the real tokens trained on up to a step that was logged; 0 before the first."""
    return max((record["tokens"] for record in records if record["step"] <= step), default=0)


def results(
    trainer: MoescopeTrainer,
    model: LanguageModel,
    figures: Mapping[str, Any],
    dataset: Manifest,
    tokenizer: PreTrainedTokenizerFast,
    records: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Gathers what the manifest counts.

    Args:
        trainer: which has ended.
        model: the best one, whole.
        figures: its scores on the whole validation split.
        dataset: manifest of the dataset.
        tokenizer: the dataset's.
        records: every metric record of the run, those of earlier processes too.
    """
    best_step = trainer.state.best_global_step or trainer.state.global_step
    parameters, active_parameters = parameter_counts(model)
    baseline = unigram_entropy(
        trainer.train_dataset,
        trainer.eval_dataset,
        trainer.data_collator,
        dataset.counts["vocab_size"],
        tokenizer.all_special_ids,
    )
    per_byte = {}
    if model.config.is_causal:
        density = tokens_per_byte(trainer.eval_dataset)
        per_byte = {"validation_loss_per_byte": figures["loss"] * density}
    return {
        "parameters": parameters,
        "active_parameters": active_parameters,
        "train_tokens": trainer.tokens,
        "steps": trainer.state.global_step,
        "validation_loss": figures["loss"],
        "validation_perplexity": figures["perplexity"],
        **per_byte,
        "validation_accuracy": figures["accuracy"],
        "unigram_entropy": baseline,
        "best_step": best_step,
        "best_step_tokens": tokens_by(best_step, records),
        "tokenizer_hash": dataset.counts["tokenizer_hash"],
        "weights_hash": hash_weights(model.state_dict()),
    }


def report(counts: Mapping[str, Any], *, is_causal: bool) -> None:
    """Says how good the model is, against guessing by frequency."""
    loss, baseline = counts["validation_loss"], counts["unigram_entropy"]
    unit = "token" if is_causal else "masked token"
    side = "below" if loss <= baseline else "above"
    console.print(
        f"train: validation loss {loss:.3f} nats per {unit}, {abs(baseline - loss):.3f} {side} the "
        f"unigram entropy of {baseline:.3f}; perplexity {counts['validation_perplexity']:,.1f} "
        f"(model of step {counts['best_step']:,})",
        soft_wrap=True,
    )


def save(model: LanguageModel, tokenizer: Any, folder: Path) -> None:
    """Writes a checkpoint that loads here by its Auto class and elsewhere by its own code."""
    model.config.register_for_auto_class()
    model.config.use_cache = model.config.is_causal  # the Trainer turns it off
    kind = "CausalLM" if model.config.is_causal else "MaskedLM"
    model.register_for_auto_class(f"AutoModelFor{kind}")
    model.save_pretrained(folder)
    if model.config.is_causal:
        tokenizer = prompt_tokenizer(tokenizer, model.config.bos_token_id)
    tokenizer.save_pretrained(folder)
