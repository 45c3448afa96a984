"""Panels on positions and special tokens, part of the chapter on masks."""

from ...data.design import Design
from ...html.page import ALL_LAYERS, Panel, Section, views_by_layer
from ...html.records import rows
from ...html.text import (
    number,
    visible,
)
from .figures import entropy_figure, mask_kind_figure, masked_figure
from .measures import PositionRecord as Record
from .place_figures import place_entropy_figure, place_figure


def place_panels(record: Record, design: Design) -> list[Panel]:
    """E12: routing and router entropy by position and special token; [] where not recorded."""
    frame = record.places
    if frame.empty:
        return []
    sizes = frame.drop_duplicates(["mask_kind", "place"])
    by_kind = sizes.groupby("mask_kind", sort=False).tokens.sum()
    totals = [f"{number:,} {name}" for name, number in by_kind.items()]
    special = ", ".join(
        f"{row.tokens:,} {visible(row.place)}" for row in rows(sizes[sizes.mask_kind == "special"])
    )
    size = f"n = {', '.join(totals)} tokens" + (f" ({special})." if special else ".")
    by_layer = list(frame.groupby("layer", sort=False))
    panels = [
        Panel(
            "places",
            "Load by position and special token",
            "Rows of one kind that change from top to bottom are routed by where a token stands; "
            "compare [MASK] rows with untouched ones of the same position.",
            f"{size} Unit: share of the row's tokens; positions in tokens from the window's start. "
            "Baseline: untouched tokens of the same position.",
            {str(layer): place_figure(own) for layer, own in by_layer},
            frame,
        )
    ]
    if frame.entropy.notna().any():
        panels.append(
            Panel(
                "places-entropy",
                "Entropy of the router by position and special token",
                "Low is a router that is sure; at the dashed line it does not choose at all.",
                f"{size} Unit: bits, mean over tokens. Baseline: log2 of {design.num_experts} "
                "experts, and untouched tokens of the same position.",
                {str(layer): place_entropy_figure(own) for layer, own in by_layer},
                frame.drop_duplicates(["mask_kind", "place", "layer"]).drop(
                    columns=["expert", "share"]
                ),
            )
        )
    return panels


def position_section(record: Record, design: Design) -> Section:
    """E12: masked and special positions."""
    panels = []
    if not record.masked.empty:
        first = rows(record.masked)[0]
        panels.append(
            Panel(
                "masked",
                "[MASK] tokens against untouched tokens",
                "Where the coloured bar is far above the grey one, the expert serves masked "
                "positions.",
                f"n = {first.masked_tokens:,} [MASK] and {first.untouched_tokens:,} untouched "
                f"tokens of {first.documents:,} documents. Unit: share of that kind's tokens. "
                "Baseline: untouched tokens of the same documents.",
                views_by_layer(record.masked, masked_figure),
                record.masked,
                subject="masked",
                is_main=True,
            )
        )
    tokens = record.mask_kinds.drop_duplicates("mask_kind")
    sizes = ", ".join(f"{row.tokens:,} {row.mask_kind}" for row in rows(tokens))
    panels.append(
        Panel(
            "mask-kinds",
            "Load by kind of position",
            "Rows that look alike are routed alike; a bright cell is an expert that a kind of "
            "position goes to.",
            f"n = {sizes} tokens. Unit: share of that kind's tokens. Baseline: the row of "
            "untouched tokens.",
            views_by_layer(record.mask_kinds, mask_kind_figure),
            record.mask_kinds,
        )
    )
    if not record.entropy.empty:
        panels.append(
            Panel(
                "entropy",
                "Entropy of the router",
                "Low is a router that is sure; at the dashed line it does not choose at all.",
                f"n = {sizes} tokens. Unit: bits, mean over tokens. Baseline: log2 of "
                f"{design.num_experts} experts = {number(record.entropy.max_entropy.iloc[0])}.",
                {ALL_LAYERS: entropy_figure(record.entropy)},
                record.entropy,
            )
        )
    panels += place_panels(record, design)
    if record.masked.empty:
        title, lead = (
            "Kinds of position",
            (
                "Nothing is masked here: a decoder predicts every token from those before it. "
                "Tokens that open and close texts are kept apart, so that they cannot pass for a "
                "topic."
            ),
        )
    else:
        title, lead = (
            "Masked and special positions",
            (
                "Masked language models route masked positions by themselves. They are kept apart "
                "here, so that the share of masks cannot pass for a topic."
            ),
        )
    return Section("masks", title, lead, panels)
