"""The report stage: a routing store becomes a page, tables and a summary."""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..configs.cli import main
from ..configs.progress import console
from ..configs.schema import Config
from ..configs.stage import StageRun
from ..configs.stages import REPORT
from ..configs.whole_files import write_json
from ..inference.store.reader import RoutingStore
from .chapters.checkpoints.section import checkpoints_section
from .chapters.corpus.section import model_section, overview_table
from .chapters.examples.section import examples_section
from .chapters.knockout.section import causes_section
from .chapters.methods.section import methods_section
from .chapters.paths.section import confidence_section, flow_section
from .chapters.senses.section import senses_sections
from .chapters.time.section import time_sections
from .findings import Findings, gather_findings
from .html.aim import track_report
from .html.images import write_images
from .html.page import Page, Panel, Section, render
from .html.records import rows
from .results import RoutingResults
from .sections_routing import (
    depth_section,
    load_section,
    strata_section,
    topics_section,
    vocabulary_section,
)


def write_report(stage: StageRun) -> Mapping[str, Any]:
    """Writes report.html, figures, tables and summary.json; returns the counts.

    Raises:
        UserError: the store, the audit or the metrics cannot be read.
    """
    config, formats, folder = stage.config, stage.config.report.formats, stage.output_dir
    findings = gather_findings(config, stage.inputs)
    results = findings.results
    page = draw_page(config, findings)
    panels = [panel for section in page.sections for panel in section.panels]
    if "csv" in formats:
        write_tables(folder / "tables", results, panels)
    if "png" in formats:
        write_images(folder / "figures", panels)
    if "html" in formats:
        (folder / "report.html").write_text(render(page), encoding="utf-8")
    summary = summarise(findings)
    if findings.quality is not None:
        track_report(config, panels, summary)
    write_json(folder / "summary.json", summary)
    for sentence in findings.verdict:
        console.print(f"report: {sentence.claim}", markup=False, soft_wrap=True)
    return {"documents": findings.store.facts.num_documents, "topics": list(results.topics)}


def draw_page(config: Config, findings: Findings) -> Page:
    """Draws every chapter.

    Raises:
        UserError: the tokenizer cannot be read.
    """
    results, settings = findings.results, config.report
    tokenizer = config.paths.dataset / "tokenizer" / "tokenizer.json"
    examples = examples_section(findings.store, settings.example_documents, tokenizer)
    methods = methods_section(findings.manifests, settings.model_dump(mode="json"))
    return Page(
        title=config.name,
        subtitle=subtitle(results, findings.store),
        verdict=findings.verdict,
        overview=overview_table(results),
        sections=[*sections(findings), *([examples] if examples else []), methods],
        topics=results.topics,
        layers=results.layers,
        num_experts=results.num_experts,
        tokens=token_experts(results),
    )


def sections(findings: Findings) -> list[Section]:
    """Builds the chapters between the verdict and the examples."""
    results = findings.results
    return [
        model_section(findings),
        load_section(results),
        topics_section(results),
        depth_section(results),
        vocabulary_section(results),
        *senses_sections(results),
        strata_section(results),
        flow_section(results),
        causes_section(results),
        confidence_section(results),
        checkpoints_section(results),
        *time_sections(results),
    ]


def subtitle(results: RoutingResults, store: RoutingStore) -> str:
    """Says what was analysed."""
    average = " on average" if store.sample_experts.shape[2] > store.top_k else ""
    return (
        f"What {results.num_experts} experts in each of {len(results.layers)} layers, "
        f"{results.top_k} per token{average}, do with {store.facts.num_documents:,} "
        f"{store.facts.split} documents of {len(results.topics)} topics"
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


def summarise(findings: Findings) -> dict[str, Any]:
    """Puts the main numbers into summary.json (docs/contracts.md)."""
    results = findings.results
    measured = asdict(findings.quality) if findings.quality else {}
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
        "elapsed_s": round(findings.elapsed_s, 3),
        "documents": int(results.load.documents.iloc[0]),
        "topics": list(results.topics),
        "layers": layers,
        "verdict": [asdict(sentence) for sentence in findings.verdict],
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


if __name__ == "__main__":
    sys.exit(main([REPORT], sys.argv[1:], "moescope report"))
