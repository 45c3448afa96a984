"""The chapters on flow (pairs, layer to layer, neighbours) and on confidence."""

from collections.abc import Sequence

import pandas as pd

from ...data.design import Design
from ...html.page import (
    ALL_LAYERS,
    HOW,
    Panel,
    Section,
)
from ...html.records import rows
from ...html.sentence import by_layer
from ...html.text import (
    count_range,
    percent,
    percent_range,
)
from ...html.theme import ratio_scale
from .figures import flow_figure, locality_figure, pair_figure
from .measures import PathsRecord as Record

SMALLEST_BAND = 0.5  # of the share that an even flow would have
MOST_BANDS = 48  # between two layers
MOST_COLUMNS = 6  # layers side by side in one diagram


def flow_section(record: Record, design: Design) -> Section:
    """E8–E10: who works with whom, across layers and along the text."""
    panels = [
        *_pair_panels(record, design),
        *_flow_panels(record, design),
        *_locality_panels(record),
    ]
    return Section(
        "flow",
        "Flow",
        "Which experts share a token, which follow each other from layer to layer, and whether "
        "neighbouring tokens keep to one expert.",
        panels,
        notes=_flow_notes(record, design, panels),
        group=HOW,
    )


def _flow_notes(record: Record, design: Design, panels: list[Panel]) -> list[tuple[str, str]]:
    """What is missing, and why."""
    if design.top_k > 1 and record.pairs.empty:
        reason = (
            f"Tokens do not have {design.top_k} experts each: experts choose their tokens, or "
            "many slots are empty. The baseline, sets of experts drawn by load alone, is for sets "
            "of that size, at most two smaller."
        )
        return [("No pairs of experts", reason)]
    return [] if panels else [("Nothing to show", "One expert a token, one layer, no sample.")]


def _pair_panels(record: Record, design: Design) -> list[Panel]:
    frame = record.pairs
    if frame.empty:
        return []
    limit, beyond = ratio_scale(frame.log2_ratio)
    once = frame[frame.expert < frame.other]
    return [
        Panel(
            "pairs",
            "Experts chosen together",
            "Red: two experts share tokens more often than their loads make them; blue: less."
            f"{beyond}",
            f"n = {frame.tokens.iloc[0]:,} untouched tokens, all pairs of the {design.top_k} "
            "chosen. Unit: log2 of the share of tokens with both over the baseline. Baseline: "
            "sets of experts drawn by load alone (largest entropy); lift, on hover, is "
            "N_ij·N / (N_i·N_j), which is below 1 for such sets.",
            {
                str(layer): pair_figure(part, limit)
                for layer, part in frame.groupby("layer", sort=False)
            },
            frame,
            shown=once.sort_values("log2_ratio", key=abs, ascending=False),
        )
    ]


def _flow_panels(record: Record, design: Design) -> list[Panel]:
    frame, information = record.flows, record.flow_information
    if frame.empty or not frame.tokens.any():
        return []
    drawn = widest_bands(frame, SMALLEST_BAND / design.num_experts**2)
    shown = drawn.groupby("layer").share.sum()
    windows = layer_windows(design.layers)
    told = by_layer(
        [
            f"layer {row.layer} tells {percent(row.share)} of layer {row.next_layer}"
            for row in rows(information)
        ]
    )
    names = {"bits": "information_bits", "share": "information_share"}
    own = information[["layer", *names]].rename(columns=names)
    table = frame.merge(own, on="layer")
    near = f" Shown: {MOST_COLUMNS} layers about the chosen one." if len(windows) > 1 else ""
    return [
        Panel(
            "flow",
            "From layer to layer",
            "A band is the tokens that go from one expert to another, by first choice. Expert "
            "numbers of two layers have nothing to do with each other; only the width counts."
            f"{near}",
            f"n = {count_range(frame.tokens.min(), frame.tokens.max())} untouched tokens with an "
            f"expert in both layers; the bands drawn, at most {MOST_BANDS} "
            f"between two layers and none below {percent(drawn.share.min())} of the tokens, hold "
            f"{percent_range(shown.min(), shown.max())} of them. Unit: share of tokens; "
            f"information: {told} (share of the entropy of the first choice). Baseline: every "
            "token goes on by the next layer's load, subtracted.",
            {
                view: flow_figure(drawn[drawn.layer.isin(own) & drawn.next_layer.isin(own)])
                for view, own in windows.items()
            },
            table,
            shown=table.sort_values("log2_ratio", ascending=False),
        )
    ]


def widest_bands(flows: pd.DataFrame, smallest: float) -> pd.DataFrame:
    """Keeps the flows that are drawn: from a share of tokens on, the widest 48 of two layers."""
    ordered = flows[flows.share >= smallest].sort_values("share", ascending=False, kind="stable")
    return ordered.groupby("layer", sort=False).head(MOST_BANDS).sort_index()


def layer_windows(layers: Sequence[int]) -> dict[str, Sequence[int]]:
    """View → layers that a diagram of it shows: all of them or, of more than 6, those about one."""
    if len(layers) <= MOST_COLUMNS:
        return {ALL_LAYERS: layers}
    starts = [
        min(max(position - MOST_COLUMNS // 2, 0), len(layers) - MOST_COLUMNS)
        for position in range(len(layers))
    ]
    return {
        str(layer): layers[start : start + MOST_COLUMNS]
        for layer, start in zip(layers, starts, strict=True)
    }


def _locality_panels(record: Record) -> list[Panel]:
    frame = record.locality
    if frame.empty:
        return []
    nearest = frame[frame.lag == frame.lag.min()]
    return [
        Panel(
            "locality",
            "Neighbouring tokens",
            "A line above the dotted one means that neighbours keep to one expert; the dotted "
            "above the dashed one, that documents as a whole do.",
            f"n = {count_range(nearest.pairs.min(), nearest.pairs.max())} pairs of neighbouring "
            f"untouched tokens of {frame.documents.iloc[0]:,} documents. Unit: share of pairs with "
            "the same first choice. "
            "Baseline: the load alone, Σ p², and tokens shuffled within their document.",
            {
                str(layer): locality_figure(part)
                for layer, part in frame.groupby("layer", sort=False)
            },
            frame,
        )
    ]
