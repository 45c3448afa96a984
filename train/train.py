"""The train stage: a dataset in, a model with its tokenizer and metrics out."""

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from transformers import (
    AutoTokenizer,
    EarlyStoppingCallback,
    PreTrainedTokenizerFast,
    TrainerCallback,
    set_seed,
)
from transformers.utils.logging import disable_progress_bar

from ..configs.allocator import keep_freed_memory
from ..configs.cli import main
from ..configs.errors import UserError
from ..configs.manifest import Manifest
from ..configs.progress import console
from ..configs.schema import Config
from ..configs.stage import StageRun
from ..configs.stages import TRAIN
from ..data_processors.collate import collator_of
from ..data_processors.examples import ExampleDataset
from ..data_processors.metadata_values import add_metadata_ids
from ..data_processors.tokenizers import tokenizer_facts
from .aim_tracking import aim_run
from .arguments import training_arguments
from .build import LanguageModel, build_model, check_dataset, parameter_counts
from .callbacks import ConsoleProgress, MetricsFile, MetricWindows, RouterState
from .checkpoints import CheckpointFolder, Owner, step_of
from .fingerprints import start_fingerprint, weights_hash
from .snapshots import Snapshots
from .trainer import MoescopeTrainer, Progress, Topics
from .unigram import tokens_per_byte, unigram_entropy


def run(stage: StageRun) -> Mapping[str, Any]:
    """Trains, or goes on from the last checkpoint of the same config and dataset."""
    keep_freed_memory()
    config, dataset = stage.config, stage.inputs["mask"]
    tokenizer: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(
        config.paths.dataset / "tokenizer"
    )  # type: ignore[assignment]
    check_dataset(config, dataset, tokenizer)
    splits = open_splits(config.paths.dataset)
    disable_progress_bar()  # transformers' own, one per file written
    set_seed(config.seed)
    model = build_model(config, dataset, tokenizer)
    collator = collator_of(
        dataset.config, tokenizer_facts(tokenizer), config.seed, is_causal=config.model.is_causal
    )
    for split in splits:
        add_metadata_ids(split, model.config)
    # last, when nothing refuses the settings any more: it discards the checkpoints of others
    checkpoints = CheckpointFolder(config.paths.checkpoints)
    owner, resume_from = checkpoints.open(owner_of(config, dataset), fresh=config.force)
    with aim_run(config, owner.aim_run) as aim, ConsoleProgress() as progress:
        callbacks: list[TrainerCallback] = [MetricsFile(checkpoints.metrics), progress]
        callbacks.append(Snapshots(checkpoints.folder, config.train.snapshots))
        if aim is not None:
            callbacks.append(aim)
            owner = owner.model_copy(update={"aim_run": aim.run_hash})
            checkpoints.write_owner(owner)
        trainer = MoescopeTrainer(
            settings=config.train,
            coefficients=config.balance.coefficients(),
            balance_scope=config.balance.scope,
            topics=Topics(dataset.counts["topics"], splits.validation.document_topics),
            eval_rows=evaluation_rows(config, len(splits.validation)),
            progress=done_before(checkpoints, resume_from),
            model=model,
            args=training_arguments(config),
            data_collator=collator,
            train_dataset=splits.train,
            eval_dataset=splits.validation,
            callbacks=[MetricWindows(), RouterState(), *callbacks, *early_stopping(config)],
        )
        fit(trainer, checkpoints, owner, resume_from)
        counts = results(trainer, dataset, tokenizer, checkpoints.records())
        if aim is not None:
            aim.set("results", counts)
    save(model, tokenizer, stage.output_dir)
    shutil.copyfile(checkpoints.metrics, stage.beside["metrics"])
    report(counts, is_causal=config.model.is_causal)
    return counts


class Splits(NamedTuple):
    """The examples to learn from and those to judge by."""

    train: ExampleDataset
    validation: ExampleDataset


def open_splits(folder: Path) -> Splits:
    """Opens the training and validation examples.

    Raises:
        UserError: one of them has none.
    """
    splits = Splits(ExampleDataset(folder, "train"), ExampleDataset(folder, "validation"))
    for split in splits:
        if not len(split):
            raise UserError(f"{folder / split.split}: has no examples; give the corpus more text")
    return splits


def owner_of(config: Config, dataset: Manifest) -> Owner:
    """Says whose checkpoints these are: what decides the weights, nothing else."""
    sections = config.model_dump(
        mode="json", include={"model", "router", "balance", "train", "seed"}
    )
    inputs = [dataset.fingerprint, *start_fingerprint(config).values()]
    return Owner(config_hash=weights_hash(sections), dataset_fingerprint=" ".join(inputs))


def evaluation_rows(config: Config, num_examples: int) -> np.ndarray | None:
    """Draws the examples that evaluations during training score; None = all."""
    wanted = config.train.eval_examples
    if wanted is None or wanted >= num_examples:
        return None
    return np.sort(np.random.default_rng(config.seed).permutation(num_examples)[:wanted])


def done_before(checkpoints: CheckpointFolder, resume_from: Path | None) -> Progress:
    """Reads what earlier processes of this run did up to the checkpoint."""
    records = checkpoints.records() if resume_from else []
    if not records:
        return Progress()
    return Progress(tokens=records[-1]["tokens"], elapsed_s=records[-1]["elapsed_s"])


def early_stopping(config: Config) -> list[TrainerCallback]:
    """Stops after `train.early_stopping` evaluations without a lower validation loss."""
    patience = config.train.early_stopping
    return [] if patience is None else [EarlyStoppingCallback(patience)]


def fit(
    trainer: MoescopeTrainer, checkpoints: CheckpointFolder, owner: Owner, resume_from: Path | None
) -> None:
    """Trains to the end and leaves the best weights in the model."""
    if resume_from is not None and owner.finished:
        trainer.restore(resume_from)
        return
    if resume_from is not None:
        console.print(f"train: going on from step {step_of(resume_from):,} ({resume_from})")
    trainer.train(resume_from_checkpoint=None if resume_from is None else str(resume_from))
    checkpoints.write_owner(owner.model_copy(update={"finished": True}))


def tokens_by(step: int, records: Sequence[Mapping[str, Any]]) -> int:
    """Returns the real tokens trained on up to a step that was logged; 0 before the first."""
    return max((record["tokens"] for record in records if record["step"] <= step), default=0)


def results(
    trainer: MoescopeTrainer,
    dataset: Manifest,
    tokenizer: PreTrainedTokenizerFast,
    records: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Scores the whole validation split and gathers what the manifest counts.

    Args:
        trainer: with the best weights in its model.
        dataset: manifest of the dataset.
        tokenizer: the dataset's.
        records: every metric record of the run, those of earlier processes too.
    """
    figures = trainer.score(trainer.eval_dataset)
    best_step = trainer.state.best_global_step or trainer.state.global_step
    parameters, active_parameters = parameter_counts(trainer.model)
    baseline = unigram_entropy(
        trainer.train_dataset,
        trainer.eval_dataset,
        trainer.data_collator,
        dataset.counts["vocab_size"],
        tokenizer.all_special_ids,
    )
    per_byte = {}
    if trainer.model.config.is_causal:
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
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    sys.exit(main([TRAIN], sys.argv[1:], "moescope train"))
