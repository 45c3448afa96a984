"""The chapter on topics: which experts are chosen more for one topic than for the others."""

from typing import Any

import pandas as pd

from ...data.design import Design
from ...html.page import (
    ALL_LAYERS,
    Panel,
    Section,
    views_by_layer,
)
from ...html.records import largest, rows
from ...html.text import (
    expert_name,
    number,
    percent,
    topic_sizes,
    visible,
)
from .figures import depth_figure, topic_heatmap
from .measures import TopicsRecord as Record
from .verdict import unit_name

RATIO_COLUMNS = ["log2_ratio", "family_low", "family_high", "share", "base_share", "p_value"]
CELL_COLUMNS = ["layer", "expert", "topic", *RATIO_COLUMNS]
SMALLEST_SCALE = 0.5  # log2; keeps noise from filling the colour scale


def topics_section(record: Record, design: Design) -> Section:
    """E3 and E2: topic information by layer, and the experts of each topic."""
    return Section(
        "topics",
        "Topics",
        "How much the expert of a token tells about its topic, layer by layer, after taking off "
        "what chance gives; and which experts are chosen more for one topic than for the others. "
        f"Counted on untouched tokens, judged by whole {unit_name(record.information)}.",
        [_depth_panel(record, design), _cells_panel(record, design)],
    )


def _depth_panel(record: Record, design: Design) -> Panel:
    first = rows(record.information)[0]
    unit = unit_name(record.information)
    return Panel(
        "depth",
        "Topic information by layer",
        "A filled point is a layer with topic information (family-wise over layers); the "
        "grey band is what chance gives one layer alone. Below 0.5% is negligible, to 2% "
        "weak, to 10% moderate, above strong; for comparison (from token counts alone, bias "
        "not taken off), Mixtral 0.1–0.4%, OLMoE 7–22%.",
        f"{_sample(first)} of {first.topics} topics, {first.tokens:,} "
        f"untouched tokens. Unit: share of log2 T = {number(first.max_bits)} bits, jackknifed "
        f"over {unit}, with 95% intervals. Baseline: {first.permutations:,} shuffles of topics "
        f"over {unit}; the band is their central 95%, less their mean.",
        {ALL_LAYERS: depth_figure(record.information, design.alpha)},
        record.information,
        subject="topic",
        is_main=True,
    )


def _cells_panel(record: Record, design: Design) -> Panel:
    limit = max(SMALLEST_SCALE, float(record.cells.log2_ratio.abs().max()))
    marked = record.cells.sort_values("statistic", key=abs, ascending=False)
    return Panel(
        "topics",
        "Topic × expert",
        "Red: chosen more for this topic than for the mean of all topics; blue: less; "
        "+1 is twice, −1 half. A dot marks what shuffled topics do not reach.",
        f"{topic_sizes(record.cells)} Unit: log2 of the topic's share of choices over the "
        f"mean of {len(design.topics)} topics. Baseline: 0, and the largest deviation "
        f"in {design.permutations:,} shuffles of topics over {unit_name(record.information)} "
        f"(family-wise over all layers, level {design.alpha:g}).",
        views_by_layer(
            record.cells,
            lambda cells: topic_heatmap(
                cells,
                design.topics,
                limit=limit,
                alpha=design.alpha,
                permutations=design.permutations,
            ),
        ),
        record.cells,
        shown=marked[CELL_COLUMNS],
        by_topic=True,
        subject="experts",
        is_main=True,
    )


def _sample(first: Any) -> str:
    """Says how many units there are, and that documents were taken as independent if they were."""
    if first.grouped:
        return f"n = {first.groups:,} groups, {first.documents:,} documents"
    return f"n = {first.documents:,} documents, each taken as independent,"


def overview(record: Record, design: Design) -> pd.DataFrame:
    """Topic information and the strongest pair of each layer, for the table of layers."""
    table = []
    for info in rows(record.information):
        cells = record.cells[record.cells.layer == info.layer]
        top = largest(cells, "family_low" if cells.family_low.notna().any() else "log2_ratio")
        pair = f"{expert_name(top.layer, top.expert)} · {visible(top.topic, 24)}"
        table.append(
            {
                "layer": str(info.layer),
                "topic bits": number(info.bits),
                "share of log2 T": percent(info.share),
                "size": info.band if info.family_p_value <= design.alpha else "no evidence",
                "family-wise p": number(info.family_p_value, 2),
                "strongest pair": pair,
                "ratio (log2)": number(top.log2_ratio, 2),
            }
        )
    return pd.DataFrame(table)
