"""The page of a comparison: a sortable table of runs above the chapters."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..html.page import Section, figure_links, figures_json, render_template
from ..html.sentence import Sentence
from ..html.text import number, percent, visible
from .sections import Comparison, comparison_sections, report_listings, runs_table

MEASURES = {
    "validation_loss": "validation loss (nats)",
    "loss_group": "same labels",
    "probe_loss": "probe loss (nats)",
    "probe_group": "same probe labels",
    "below_unigram": "below token frequencies (nats)",
    "validation_accuracy": "accuracy",
    "nats_per_byte": "nats per byte",
    "topic_layer": "most topical layer",
    "topic_share": "topic information (share of log2 T)",
    "topic_p": "family-wise p",
    "beyond_p": "topic beyond vocabulary, p",
    "class_share": "token class (share of entropy)",
    "token_share": "token (share of entropy)",
    "max_violation": "MaxVio, largest",
    "effective_experts": "effective experts, fewest",
    "dead_experts": "dead experts",
    "parameters": "parameters",
    "active_parameters": "active parameters",
    "train_tokens": "training tokens",
    "elapsed_s": "seconds, all stages",
}  # column → heading
SHARES = ("validation_accuracy", "topic_share", "class_share", "token_share")


@dataclass(frozen=True)
class Column:
    """A column of the table of runs."""

    name: str
    title: str


@dataclass(frozen=True)
class Cell:
    """A cell of it: what is shown, what is sorted by, and whether it departs from most runs."""

    text: str
    sort: str
    differs: bool = False


@dataclass(frozen=True)
class ComparisonPage:
    """Everything on the page.

    Attributes:
        title: names the runs.
        subtitle: what was compared, in a line.
        verdict: its sentences.
        columns: of the table of runs.
        rows: its cells, a row per run.
        notes: what is missing, (run, text).
        identical: setting → the value that all runs share.
        reports: (run, claims of its report).
        sections: the chapters after the table.
        layers: layer numbers, for the slider.
        topics: none: a comparison has no topic filter.
    """

    title: str
    subtitle: str
    verdict: Sequence[Sentence]
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[tuple[str, str]]
    identical: Mapping[str, str]
    reports: Sequence[tuple[str, str]]
    sections: Sequence[Section]
    layers: Sequence[int]
    topics: Sequence[str] = ()


def comparison_page(
    comparison: Comparison, verdict: Sequence[Sentence], skipped: Sequence[str]
) -> ComparisonPage:
    """Arranges a comparison.

    Args:
        comparison: every number.
        verdict: the sentences.
        skipped: a line per run that was left out.
    """
    table = runs_table(comparison)
    settings = comparison.settings.differing
    columns = [Column("run", "run"), *(Column(name, name) for name in settings)]
    columns += [
        Column(name, title)
        for name, title in MEASURES.items()
        if table[name].replace("", math.nan).notna().any()
    ]
    notes = [(run.name, line) for run in comparison.runs for line in run.troubles]
    notes += [("Left out", line) for line in skipped]
    documents = {run.summary["documents"] for run in comparison.runs if "documents" in run.summary}
    return ComparisonPage(
        title=f"{len(comparison.runs)} runs compared",
        subtitle=", ".join(visible(name) for name in comparison.names)
        + (f"; {max(documents):,} documents routed in each" if len(documents) == 1 else ""),
        verdict=verdict,
        columns=columns,
        rows=_cells(table, columns, settings),
        notes=notes,
        identical=comparison.settings.identical,
        reports=report_listings(comparison),
        sections=comparison_sections(comparison),
        layers=sorted({int(layer) for layer in comparison.similarity.layer}),
    )


def _cells(
    table: pd.DataFrame, columns: Sequence[Column], settings: Sequence[str]
) -> list[list[Cell]]:
    usual = {name: table[name].mode().iloc[0] for name in settings}
    several = {name for name in settings if (table[name] == usual[name]).sum() > 1}
    return [
        [
            Cell(
                text=cell_text(column.name, row[column.name]),
                sort=_sort_key(row[column.name]),
                differs=column.name in several and row[column.name] != usual[column.name],
            )
            for column in columns
        ]
        for row in table.to_dict("records")
    ]


def cell_text(name: str, value: Any) -> str:
    """Formats a measure, or shows a setting's text."""
    if isinstance(value, str):
        return visible(value, 120) if value else "–"
    if name in SHARES:
        return percent(value, 3)
    if name in ("topic_p", "beyond_p"):
        return number(value, 2)
    if math.isfinite(value) and value == int(value) and abs(value) >= 10:
        return f"{int(value):,}"
    return number(value, 4)


def _sort_key(value: Any) -> str:
    if isinstance(value, str):
        return value
    return repr(float(value)) if math.isfinite(value) else ""


def render_comparison(page: ComparisonPage) -> str:
    """Renders the page; like a report's, it asks nothing of the network."""
    return render_template(
        "compare.html.j2",
        ["page.js", "compare.js"],
        figures_json(page.sections, page.layers),
        page=page,
        figure_of=figure_links(page.sections),
    )
