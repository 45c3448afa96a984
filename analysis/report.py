"""The report stage: a routing store becomes a page, tables and a summary."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import reduce
from pathlib import Path
from typing import Any

import pandas as pd

from ..configs.cli import main
from ..configs.progress import console
from ..configs.stage import StageRun
from ..configs.stages import REPORT
from .chapters import Records, draw_sections, measure_chapters, told, write_verdict
from .data.csv import write_csv
from .data.run import RunData, read_run
from .html.aim import track_report
from .html.images import write_images
from .html.page import Page, Section, render
from .html.records import without_nan
from .html.sentence import Sentence


def write_report(stage: StageRun) -> Mapping[str, Any]:
    """Writes report.html, figures, tables and summary.json; returns the counts.

    Raises:
        UserError: the store, the audit or the metrics cannot be read.
    """
    config, formats, folder = stage.config, stage.config.report.formats, stage.output_dir
    run = read_run(config, stage.inputs)
    records = measure_chapters(run)
    verdict = write_verdict(records, run.design)
    page = draw_page(config.name, run, records, verdict)
    panels = [panel for section in page.sections for panel in section.panels]
    if "csv" in formats:
        write_tables(folder / "tables", page.sections)
    if "png" in formats:
        write_images(folder / "figures", panels)
    if "html" in formats:
        (folder / "report.html").write_text(render(page), encoding="utf-8")
    summary = summarise(run, records, verdict)
    if run.quality is not None:
        track_report(config, panels, summary)
    (folder / "summary.json").write_text(
        json.dumps(summary, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    for sentence in verdict:
        console.print(f"report: {sentence.claim}", markup=False, soft_wrap=True)
    return {"documents": run.store.facts.num_documents, "topics": list(run.design.topics)}


def draw_page(name: str, run: RunData, records: Records, verdict: Sequence[Sentence]) -> Page:
    """Draws every chapter.

    Raises:
        UserError: the tokenizer cannot be read.
    """
    design = run.design
    cells = [c.overview(record, design) for c, record in told(records) if c.overview]
    return Page(
        title=name,
        subtitle=subtitle(run),
        verdict=verdict,
        overview=side_by_side(cells),
        sections=draw_sections(records, design),
        topics=design.topics,
        layers=design.layers,
        num_experts=design.num_experts,
    )


def subtitle(run: RunData) -> str:
    """Says what was analysed."""
    store, design = run.store, run.design
    average = " on average" if store.sample_experts.shape[2] > store.top_k else ""
    return (
        f"What {design.num_experts} experts in each of {len(design.layers)} layers, "
        f"{design.top_k} per token{average}, do with {store.facts.num_documents:,} "
        f"{store.facts.split} documents of {len(design.topics)} topics"
    )


def side_by_side(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Joins frames with one row per layer."""
    return reduce(lambda left, right: left.merge(right, on="layer", sort=False), frames)


def write_tables(folder: Path, sections: Sequence[Section]) -> None:
    """Writes every number of every figure, and the chapters' further tables, as CSV."""
    folder.mkdir()
    for section in sections:
        tables = {panel.name: panel.table for panel in section.panels} | dict(section.tables)
        for name, table in tables.items():
            write_csv(table, folder / f"{name}.csv")


def summarise(run: RunData, records: Records, verdict: Sequence[Sentence]) -> dict[str, Any]:
    """Puts the main numbers into summary.json (docs/contracts.md)."""
    layers = side_by_side([c.by_layer(record) for c, record in told(records) if c.by_layer])
    summary: dict[str, Any] = {
        **(asdict(run.quality) if run.quality else {}),
        "elapsed_s": round(run.elapsed_s, 3),
        "documents": len(run.documents.ids),
        "topics": list(run.design.topics),
        "layers": layers.to_dict(orient="records"),
        "verdict": [asdict(sentence) for sentence in verdict],
    }
    finite: dict[str, Any] = without_nan(summary)
    return finite


if __name__ == "__main__":
    sys.exit(main([REPORT], sys.argv[1:], "moescope report"))
