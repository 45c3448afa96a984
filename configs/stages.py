"""The stages: what each reads and writes. Their work is imported when they run, not before."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .schema_train import MACHINE, WATCHING
from .stage import Stage, later


def _given(folder: str | Path | None) -> list[Path]:
    return [] if folder is None else [Path(folder)]


BATCH = ("train.batch_size", "train.gradient_accumulation")


def trains_on(changes: Mapping[str, tuple[Any, Any]], before: Mapping[str, Any]) -> bool:
    """Whether training goes on from its checkpoints although settings have changed.

    Args:
        changes: name → (old value, new value).
        before: all the old settings, by section.
    """
    for name in changes.keys() & {"train.max_steps", "train.epochs"}:
        old, new = changes[name]
        if old is None or new is None or new < old:
            return False
    if not changes.keys().isdisjoint(BATCH):
        was = [before["train"][name.removeprefix("train.")] for name in BATCH]
        now = [changes.get(name, (None, old))[1] for name, old in zip(BATCH, was, strict=True)]
        if math.prod(now) != math.prod(was):
            return False
    free = {"train.max_steps", "train.epochs", *BATCH}
    free |= {f"train.{setting}" for setting in (*WATCHING, *MACHINE)}
    return changes.keys() <= free


CORPUS = Stage(
    name="corpus",
    summary="texts with topics, cleaned and split",
    output="corpus",
    inputs={},
    sections=("source", "corpus"),
    run=later("moescope.data_processors.corpus:build_corpus"),
    external=later("moescope.data_processors.corpus:source_fingerprint"),
    next_stage="mask",
)
MASK = Stage(
    name="mask",
    summary="tokenizer, windows, fixed evaluation masks",
    output="dataset",
    inputs={"corpus": "corpus"},
    sections=("tokenizer", "masking", "dataset"),
    run=later("moescope.data_processors.mask:mask_corpus"),
    external=later("moescope.data_processors.fingerprints:tokenizer_files"),
    next_stage="train",
)
TRAIN = Stage(
    name="train",
    summary="the model, encoder or decoder, its checkpoints and metrics",
    output="model",
    inputs={"mask": "dataset"},
    sections=("model", "router", "balance", "train"),
    side_sections=("tracking",),
    run=later("moescope.train.train:run"),
    external=later("moescope.train.fingerprints:start_fingerprint"),
    check=later("moescope.train.build:check_architecture"),
    folders=lambda config: _given(config.train.start_from),
    beside=("metrics",),
    continues=trains_on,
    costly=True,
    next_stage="route",
)
ROUTE = Stage(
    name="route",
    summary="every routing decision of the probe split, as tables",
    output="routing",
    inputs={"mask": "dataset"},
    sections=("route",),
    run=later("moescope.inference.route:record_split"),
    external=later("moescope.inference.checkpoints.fingerprints:recorded"),
    folders=lambda config: [
        *_given(config.route.model or config.paths.model),
        *_given(config.route.adapter),
    ],
    costly=True,
    next_stage="report",
    plan=later("moescope.inference.plan:plan_route"),
    needs_experts=True,
)
REPORT = Stage(
    name="report",
    summary="what the experts specialise in, tested, and the HTML page that shows it",
    output="report",
    inputs={"corpus": "corpus", "mask": "dataset", "train": "model", "route": "routing"},
    optional_inputs=("train",),
    sections=("report",),
    side_sections=("tracking",),
    run=later("moescope.analysis.report:write_report"),
    needs_experts=True,
)
COMPARE = Stage(
    name="compare",
    summary="several finished runs on one page: settings, quality, balance, routing",
    output="comparison",
    inputs={},
    sections=("compare",),
    run=later("moescope.analysis.comparison.compare:write_comparison"),
    external=later("moescope.analysis.comparison.compare:results_of_runs"),
)
IMPORT = Stage(
    name="import",
    summary="a checkpoint of transformers as one of ours, as it is or upcycled",
    output="imported",
    inputs={},
    sections=("checkpoint", "router"),
    run=later("moescope.inference.checkpoints.import_checkpoint:run"),
    external=later("moescope.inference.checkpoints.fingerprints:imported"),
    folders=lambda config: _given(config.checkpoint.source),
    costly=True,
)
EXPORT = Stage(
    name="export",
    summary="one of our decoders as a Llama, Mixtral, OLMoE or Qwen3-MoE of transformers",
    output="exported",
    inputs={},
    sections=("export",),
    run=later("moescope.inference.checkpoints.export_checkpoint:run"),
    external=later("moescope.inference.checkpoints.fingerprints:exported"),
    folders=lambda config: _given(config.export.model or config.paths.model),
)

PIPELINE = (CORPUS, MASK, TRAIN, ROUTE, REPORT)
STAGES = {stage.name: stage for stage in (*PIPELINE, COMPARE, IMPORT, EXPORT)}
