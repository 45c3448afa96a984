"""Writes the folders upstream of the report, without running their stages."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from moescope.analysis.chapters import CHAPTERS, Records, measure_chapters
from moescope.analysis.data.run import RunData
from moescope.configs.compose import compose_config
from moescope.configs.manifest import Manifest
from moescope.configs.schema import Config
from moescope.configs.stage import execute
from moescope.data_processors.audit_warnings import AuditWarning
from moescope.inference.store.reader import RoutingStore

from .stores import Planted, write_store

SPLITS = ("train", "validation", "test", "probe")


def write_run(
    runs: Path,
    plan: Planted,
    overrides: tuple[str, ...] = (),
    warnings: tuple[AuditWarning, ...] = (),
) -> Config:
    """Writes corpus, dataset, model, metrics and routing of a planted run; returns its config."""
    config = compose_config(
        [
            "source=synthetic",
            "name=planted",
            f"paths.runs={runs}",
            "report.permutations=99",
            "report.bootstrap=50",
            *overrides,
        ]
    )
    paths = config.paths
    write_store(paths.routing, plan, np.random.default_rng(1))
    for folder in (paths.corpus, paths.dataset, paths.model):
        folder.mkdir(parents=True)
    (paths.corpus / "audit.json").write_text(json.dumps(_audit(plan, warnings)))
    lines = [json.dumps(record) for record in _metrics(plan)]
    paths.metrics.write_text("\n".join(lines) + "\n")
    counts = {
        "validation_loss": 4.5,
        "unigram_entropy": 6.0,
        "train_tokens": 123_456,
        "best_step_tokens": 98_765,
    }
    _manifest(paths.corpus, "corpus", {})
    _manifest(paths.dataset, "mask", {})
    _manifest(paths.model, "train", counts)
    _manifest(paths.routing, "route", {})
    return config


QUICK = ("report.permutations=99", "report.bootstrap=60")


def run_of(store: RoutingStore, *overrides: str, **facts: Any) -> RunData:
    """A store with quick settings, and further facts of its run."""
    settings = compose_config([*QUICK, *overrides]).report
    return RunData(store, settings, seed=0, **facts)


def measure(run: RunData, *names: str) -> Records:
    """The records of some chapters, and of those that they use; of all without names."""
    wanted = set(names)
    for chapter in reversed(CHAPTERS):
        if chapter.name in wanted:
            wanted |= {place.split(".")[0] for place in chapter.uses.values()}
    return measure_chapters(run, [c for c in CHAPTERS if not names or c.name in wanted])


def make_report(config: Config) -> Path:
    """Runs the report stage; returns its folder."""
    from moescope.configs.stages import REPORT

    execute(REPORT, config, command="moescope report")
    return config.paths.report


def _manifest(folder: Path, stage: str, counts: dict[str, Any]) -> None:
    manifest = Manifest(
        stage=stage,
        config={
            "seed": 0,
            stage: {"key": "value", "clean": {"near_duplicates": False}},
            "model": {"is_causal": False},
        },
        config_hash="0" * 32,
        inputs={"train": "1" * 32} if stage == "route" else {},
        fingerprint="1" * 32,
        files={},
        seed=0,
        versions={"python": "3.11"},
        counts=counts,
        started_at="2026-01-01T00:00:00+00:00",
        elapsed_s=10.0,
        command=f"moescope {stage}",
    )
    (folder / "manifest.json").write_text(manifest.sealed().model_dump_json())


def _audit(plan: Planted, warnings: tuple[AuditWarning, ...]) -> dict[str, Any]:
    topics = plan.topics
    duplicates = {
        "found": 3,
        "removed": 3,
        "within_topics": 2,
        "across_topics": 1,
        "across_splits": 0,
        "topic_pairs": [],
    }
    quantiles = {"mean": 60.0, "max": 90, "p5": 40.0, "p25": 50.0, "median": 60.0}
    overlap = np.full((len(topics), len(topics)), 0.4)
    np.fill_diagonal(overlap, 1)
    return {
        "topics": list(topics),
        "documents": {split: dict.fromkeys(topics, 40) for split in SPLITS},
        "groups": {split: dict.fromkeys(topics, 20) for split in SPLITS},
        "removed": {"too short": 4},
        "exact_duplicates": duplicates,
        "near_duplicates": duplicates,
        "words": {topic: {**quantiles, "p75": 70.0, "p95": 80.0} for topic in topics},
        "non_latin_share": dict.fromkeys(topics, 0.01),
        "word_overlap": overlap.tolist(),
        "largest_group_share": dict.fromkeys(topics, 0.05),
        "warnings": [asdict(warning) for warning in warnings],
    }


def _metrics(plan: Planted) -> list[dict[str, Any]]:
    layers = [
        {"layer": layer, "max_violation": 0.3, "router_entropy": 1.2, "dead_experts": 0}
        for layer in plan.layers
    ]
    records: list[dict[str, Any]] = []
    for step in (10, 20, 30):
        common: dict[str, Any] = {
            "step": step,
            "tokens": step * 1000,
            "loss": 6 - step / 20,
            "layers": layers,
        }
        balance = {"switch": 1.1, "z": 4.0}
        records.append({"split": "train", **common, "balance": balance})
        topics = {topic: {"loss": 5.0 + i, "tokens": 100} for i, topic in enumerate(plan.topics)}
        records.append({"split": "validation", **common, "balance": balance, "topics": topics})
    return records
