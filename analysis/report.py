"""The report stage: a routing store becomes a page, tables and a summary."""

import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from configs.cli import main
from configs.errors import UserError
from configs.manifest import Manifest
from configs.progress import console
from configs.stage import Stage, StageRun
from inference.store import RoutingStore

from .corpus_audit import CorpusAudit, read_audit
from .page import Page, Panel, Section, render
from .records import rows
from .results import RoutingResults, analyse_routing
from .sections_checkpoints import checkpoints_section
from .sections_examples import examples_section
from .sections_knockout import causes_section
from .sections_methods import methods_section
from .sections_paths import confidence_section, flow_section
from .sections_routing import (
    depth_section,
    load_section,
    strata_section,
    topics_section,
    vocabulary_section,
)
from .sections_run import model_section, overview_table
from .sentence import Sentence
from .training import TrainingCurves, read_training_curves
from .verdict import ModelQuality, write_verdict


def write_report(stage: StageRun) -> Mapping[str, Any]:
    """Writes report.html, tables/*.csv and summary.json; returns the counts.

    Raises:
        UserError: the store, the audit or the metrics cannot be read.
    """
    clock = time.monotonic()
    config, settings = stage.config, stage.config.report
    store = RoutingStore.open(config.paths.routing)
    origins = document_origins(config.paths.dataset / f"documents-{store.facts.split}.parquet")
    results = analyse_routing(store, settings, config.seed, origins)
    audit = read_audit(config.paths.corpus / "audit.json")
    inputs = made_this(stage.inputs)
    quality = model_quality(inputs.get("train"))
    curves = read_training_curves(config.paths.metrics) if "train" in inputs else None
    verdict = write_verdict(results, quality, audit.warnings)
    tokenizer = config.paths.dataset / "tokenizer" / "tokenizer.json"
    examples = examples_section(store, settings.example_documents, tokenizer)
    chapters = sections(results, audit, curves, quality)
    panels = [panel for chapter in chapters for panel in chapter.panels]
    if "csv" in settings.formats:
        write_tables(stage.output_dir / "tables", results, panels)
    if "html" in settings.formats:
        methods = methods_section(inputs, settings.model_dump(mode="json"))
        page = Page(
            title=config.name,
            subtitle=subtitle(results, store),
            verdict=verdict,
            overview=overview_table(results),
            sections=[*chapters, *([examples] if examples else []), methods],
            topics=results.topics,
            layers=results.layers,
            num_experts=results.num_experts,
            tokens=token_experts(results),
        )
        (stage.output_dir / "report.html").write_text(render(page), encoding="utf-8")
    elapsed_s = sum(m.elapsed_s for m in inputs.values()) + time.monotonic() - clock
    summary = summarise(results, quality, verdict, elapsed_s)
    (stage.output_dir / "summary.json").write_text(
        json.dumps(summary, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    for sentence in verdict:
        console.print(f"report: {sentence.claim}", markup=False, soft_wrap=True)
    return {"documents": store.facts.num_documents, "topics": list(results.topics)}


def sections(
    results: RoutingResults,
    audit: CorpusAudit,
    curves: TrainingCurves | None,
    quality: ModelQuality | None,
) -> list[Section]:
    """Builds the chapters between the verdict and the methods."""
    return [
        model_section(audit, curves, quality, results),
        load_section(results),
        topics_section(results),
        depth_section(results),
        vocabulary_section(results),
        strata_section(results),
        flow_section(results),
        causes_section(results),
        confidence_section(results),
        checkpoints_section(results),
    ]


def document_origins(path: Path) -> dict[str, str] | None:
    """Reads which documents are of one origin (documents-<split>.parquet); None without the file.

    Raises:
        UserError: the file cannot be read.
    """
    if not path.exists():
        return None
    try:
        frame = pq.read_table(path, columns=["id", "group"]).to_pandas()
    except (pa.ArrowInvalid, KeyError, OSError) as error:
        raise UserError(f"{path}: damaged ({error}); rerun `moescope mask`") from error
    return dict(zip(frame["id"].astype(str), frame["group"].astype(str), strict=True))


def subtitle(results: RoutingResults, store: RoutingStore) -> str:
    """Says what was analysed."""
    return (
        f"What {results.num_experts} experts in each of {len(results.layers)} layers, "
        f"{results.top_k} per token, do with {store.facts.num_documents:,} {store.facts.split} "
        f"documents of {len(results.topics)} topics"
    )


def made_this(inputs: Mapping[str, Manifest]) -> Mapping[str, Manifest]:
    """Leaves the run's training out where another model was recorded (`route.model`)."""
    train, route = inputs.get("train"), inputs["route"]
    own = train is not None and route.inputs.get("train") == train.fingerprint
    return {name: manifest for name, manifest in inputs.items() if name != "train" or own}


def model_quality(manifest: Manifest | None) -> ModelQuality | None:
    """Takes the losses out of the train stage's manifest."""
    if manifest is None:
        return None
    counts = manifest.counts
    return ModelQuality(
        validation_loss=float(counts["validation_loss"]),
        unigram_entropy=float(counts["unigram_entropy"]),
        train_tokens=int(counts["train_tokens"]),
    )


def write_tables(folder: Path, results: RoutingResults, panels: Sequence[Panel]) -> None:
    """Writes every number of every figure as CSV."""
    folder.mkdir()
    for panel in panels:
        panel.table.to_csv(folder / f"{panel.name}.csv", index=False)
    results.tokens.to_csv(folder / "top-tokens.csv", index=False)


def token_experts(results: RoutingResults) -> dict[str, list[tuple[int, int]]]:
    """Lists, for the search, the experts that each of the top tokens goes to, the surest first."""
    by_token = results.tokens.sort_values("low", ascending=False).groupby("token", sort=True)
    return {str(token): [(row.layer, row.expert) for row in rows(own)] for token, own in by_token}


def summarise(
    results: RoutingResults,
    quality: ModelQuality | None,
    verdict: Sequence[Sentence],
    elapsed_s: float,
) -> dict[str, Any]:
    """Puts the main numbers into summary.json (docs/contracts.md)."""
    measured = asdict(quality) if quality else {}
    layers = [
        {
            "layer": info.layer,
            "topic_information_bits": info.bits,
            "topic_information_share": info.share,
            "topic_information_interval_bits": [info.low, info.high],
            "band": info.band,
            "p_value": info.p_value,
            "family_p_value": info.family_p_value,
            "max_violation": balance.max_violation,
            "effective_experts": balance.effective_experts,
            "dead_experts": balance.dead_experts,
        }
        for info, balance in zip(rows(results.information), rows(results.balance), strict=True)
    ]
    summary: dict[str, Any] = {
        **measured,
        "elapsed_s": round(elapsed_s, 3),
        "documents": int(results.load.documents.iloc[0]),
        "topics": list(results.topics),
        "layers": layers,
        "verdict": [asdict(sentence) for sentence in verdict],
    }
    finite: dict[str, Any] = without_nan(summary)
    return finite


def without_nan(value: Any) -> Any:
    """Replaces NaN by null, which is what JSON has."""
    if isinstance(value, dict):
        return {name: without_nan(item) for name, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


STAGE = Stage(
    name="report",
    summary="Test what the experts specialise in, and write the page that shows it.",
    output="report",
    inputs={"corpus": "corpus", "mask": "dataset", "train": "model", "route": "routing"},
    sections=("report",),
    run=write_report,
    optional_inputs=("train",),
)

if __name__ == "__main__":
    sys.exit(main([STAGE], sys.argv[1:], "moescope report"))
