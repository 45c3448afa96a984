"""The train stage: a dataset in, a model with its tokenizer and metrics out."""

import os
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
from ..configs.schema_train import Train
from ..configs.stage import StageRun
from ..configs.stages import TRAIN
from ..data_processors.collate import collator_of
from ..data_processors.examples import ExampleDataset
from ..data_processors.metadata_values import add_metadata_ids
from ..data_processors.tokenizers import tokenizer_facts
from .aim_tracking import aim_run
from .arguments import learning_rate_factor, precision_of, training_arguments
from .build import LanguageModel, build_model, check_dataset, parameter_counts
from .callbacks import ConsoleProgress, MetricsFile, MetricWindows, RouterState
from .checkpoints import Checkpoint, CheckpointFolder
from .owner import Owner, owner_of
from .snapshots import Snapshots
from .trainer import MoescopeTrainer, Progress, Topics
from .unigram import tokens_per_byte, unigram_entropy
from .weights import hash_weights


def run(stage: StageRun) -> Mapping[str, Any]:
    """Trains, or goes on from the last checkpoint of the same config and dataset."""
    keep_freed_memory()
    config, dataset = stage.config, stage.inputs["mask"]
    tokenizer: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(
        config.paths.dataset / "tokenizer", trust_remote_code=False
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
    # last, when nothing refuses the settings any more: it sets aside the checkpoints of others
    checkpoints = CheckpointFolder(config.paths.checkpoints)
    owner, resume = claim(checkpoints, config, dataset, len(splits.train))
    with aim_run(config, owner.aim_run) as aim, ConsoleProgress() as progress:
        callbacks: list[TrainerCallback] = [MetricsFile(checkpoints.metrics), progress]
        callbacks.append(Snapshots(checkpoints.folder, config.train.snapshots))
        if aim is not None:
            callbacks.append(aim)
            checkpoints.write_owner(owner.model_copy(update={"aim_run": aim.run_hash}))
        trainer = MoescopeTrainer(
            settings=config.train,
            coefficients=config.balance.coefficients(),
            balance_scope=config.balance.scope,
            topics=Topics(dataset.counts["topics"], splits.validation.document_topics),
            eval_rows=evaluation_rows(config, len(splits.validation)),
            progress=done_before(checkpoints, resume),
            checkpoints=checkpoints,
            model=model,
            args=training_arguments(config, owner.precision),
            data_collator=collator,
            train_dataset=splits.train,
            eval_dataset=splits.validation,
            callbacks=[MetricWindows(), RouterState(), *callbacks, *early_stopping(config)],
        )
        fit(trainer, owner, resume)
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


def claim(
    checkpoints: CheckpointFolder, config: Config, dataset: Manifest, num_examples: int
) -> tuple[Owner, Checkpoint | None]:
    """Takes the checkpoints of the same training; `auto` stays the precision that they had."""
    stored = checkpoints.stored_owner()
    kept = stored is not None and config.train.precision == "auto"
    owner = owner_of(
        config,
        dataset,
        num_examples=num_examples,
        precision=stored.precision if stored and kept else precision_of(config.train),
        processes=int(os.environ.get("WORLD_SIZE", "1")),
    )
    return checkpoints.open(owner, fresh=config.force)


def evaluation_rows(config: Config, num_examples: int) -> np.ndarray | None:
    """Draws the examples that evaluations during training score; None = all."""
    wanted = config.train.eval_examples
    if wanted is None or wanted >= num_examples:
        return None
    return np.sort(np.random.default_rng(config.seed).permutation(num_examples)[:wanted])


def done_before(checkpoints: CheckpointFolder, resume: Checkpoint | None) -> Progress:
    """Reads what earlier processes of this run did up to the checkpoint."""
    records = checkpoints.records() if resume else []
    if not records:
        return Progress()
    return Progress(tokens=records[-1]["tokens"], elapsed_s=records[-1]["elapsed_s"])


def early_stopping(config: Config) -> list[TrainerCallback]:
    """Stops after `train.early_stopping` evaluations without a lower validation loss."""
    patience = config.train.early_stopping
    return [] if patience is None else [EarlyStoppingCallback(patience)]


def fit(trainer: MoescopeTrainer, owner: Owner, resume: Checkpoint | None) -> None:
    """Trains to the end and leaves the best weights in the model."""
    if resume is not None and resume.record.owner.eval_examples != owner.eval_examples:
        resume = resume._replace(best=trainer.measure(resume.best))
    if resume is not None and resume.record.ends(owner):
        trainer.restore(resume)
        return
    if resume is not None:
        tell_resume(resume, owner, trainer.settings)
    trainer.fit(resume)


def tell_resume(resume: Checkpoint, owner: Owner, settings: Train) -> None:
    """Says from where training goes on, and what a new number of steps does to the schedule."""
    step, before = resume.record.step, resume.record.owner.total_steps
    text = f"train: going on from step {step:,} ({resume.folder})"
    if before != owner.total_steps:
        old, new = (
            learning_rate_factor(step, total, settings) * settings.learning_rate
            for total in (before, owner.total_steps)
        )
        text += (
            f"; it now ends at step {owner.total_steps:,} (before: {before:,}), and the learning "
            f"rate takes the schedule of that many steps from here: {new:.3g} (before: {old:.3g})"
        )
    console.print(text, soft_wrap=True)


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
        "weights_hash": hash_weights(trainer.model.state_dict()),
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
