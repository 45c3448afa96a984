"""The train stage: a dataset in, a model with its tokenizer and metrics out."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from transformers import (
    AutoTokenizer,
    EarlyStoppingCallback,
    PreTrainedTokenizerFast,
    TrainerCallback,
    set_seed,
)
from transformers.utils.logging import disable_progress_bar

from ..configs.allocator import keep_freed_memory
from ..configs.errors import UserError
from ..configs.manifest import Manifest
from ..configs.progress import console
from ..configs.schema import Config
from ..configs.schema_train import Train
from ..configs.stage import StageRun
from ..data_processors.collate import collator_of
from ..data_processors.examples import ExampleDataset
from ..data_processors.metadata_values import add_metadata_ids
from ..data_processors.tokenizers import tokenizer_facts
from .aim_tracking import AimCallback, aim_run
from .arguments import device_of, learning_rate_factor, precision_of, training_arguments
from .build import build_model, check_dataset
from .callbacks import ConsoleProgress, MetricsFile, MetricWindows, RouterState
from .checkpoints import Checkpoint, CheckpointFolder
from .launch import launch
from .owner import Owner, owner_of
from .processes import from_first, is_first, join_group, rank
from .results import report, results, save
from .sharding import data_parallel, shard
from .snapshots import Snapshots
from .trainer import MoescopeTrainer, Progress, Topics
from .weights import whole_model


def run(stage: StageRun) -> Mapping[str, Any]:
    """Trains in this process, or starts `train.processes` of them that do."""
    if stage.config.train.processes > 1:
        return launch(stage)
    if device_of(stage.config.train) == "cuda" and (seen := torch.cuda.device_count()) > 1:
        console.print(f"train: on one of {seen} GPUs; train.processes={seen} takes all")
    return train(stage)


def train(stage: StageRun) -> Mapping[str, Any]:
    """Trains, or goes on from the last checkpoint of the same config and dataset.

    Where several processes train, all call it together, and process 0 alone writes.

    Returns:
        What the manifest counts; {} but in process 0.
    """
    keep_freed_memory()
    config, dataset = stage.config, stage.inputs["mask"]
    join_group(device_of(config.train))
    console.quiet = not is_first()
    tokenizer: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(
        config.paths.dataset / "tokenizer", trust_remote_code=False
    )  # type: ignore[assignment]
    check_dataset(config, dataset, tokenizer)
    splits = open_splits(config.paths.dataset)
    disable_progress_bar()  # transformers' own, one per file written
    set_seed(config.seed)
    model = shard(build_model(config, dataset, tokenizer), config)
    if rank() and config.train.parallel != "experts":
        set_seed(config.seed + rank())  # dropout is each process' own
    collator = collator_of(
        dataset.config, tokenizer_facts(tokenizer), config.seed, is_causal=config.model.is_causal
    )
    for split in splits:
        add_metadata_ids(split, model.config)
    # last, when nothing refuses the settings any more: it sets aside the checkpoints of others
    checkpoints = CheckpointFolder(config.paths.checkpoints)
    owner, resume = claim(checkpoints, config, dataset, len(splits.train))
    with tracking(config, owner.aim_run) as aim, ConsoleProgress() as progress:
        callbacks: list[TrainerCallback] = [Snapshots(checkpoints.folder, config.train.snapshots)]
        if is_first():
            callbacks = [MetricsFile(checkpoints.metrics), progress, *callbacks]
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
        figures, best = trainer.score(splits.validation), whole_model(trainer.model)
        if not is_first():
            return {}
        counts = results(trainer, best, figures, dataset, tokenizer, checkpoints.records())
        if aim is not None:
            aim.set("results", counts)
    save(best, tokenizer, stage.output_dir)
    shutil.copyfile(checkpoints.metrics, stage.beside["metrics"])
    report(counts, is_causal=config.model.is_causal)
    return counts


@contextmanager
def tracking(config: Config, aim_hash: str | None) -> Iterator[AimCallback | None]:
    """Opens the run's Aim record, in process 0."""
    with aim_run(config, aim_hash) if is_first() else nullcontext() as aim:
        yield aim


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
    """Takes the checkpoints of the same training; `auto` stays the precision that they had.

    Process 0 does, and tells the others.
    """
    if not is_first():
        owner, found = from_first(None)
        checkpoints.adopt(owner)
        return owner, found
    stored = checkpoints.stored_owner()
    kept = stored is not None and config.train.precision == "auto"
    owner = owner_of(
        config,
        dataset,
        num_examples=num_examples,
        precision=stored.precision if stored and kept else precision_of(config.train),
        processes=data_parallel(config),
    )
    opened = checkpoints.open(owner, fresh=config.force)
    return cast("tuple[Owner, Checkpoint | None]", from_first(opened))


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
