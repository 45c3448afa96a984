"""Looks that all figures share; the page adds text and grid colours for light or dark."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

ACCENT, SECOND, MUTED = "#2a78b8", "#d9782d", "#8a9099"
# Okabe and Ito (2008), black left out and yellow darkened: told apart by colour-blind readers on
# light and dark ground alike.
PALETTE = ("#2a78b8", "#e08e0b", "#12956d", "#c46a9b", "#4fb0e0", "#c9511f", "#a39a1a", "#8a9099")
# Blue to red over white (ColorBrewer RdBu); the page darkens the middle on dark ground.
DIVERGING = [[0, "#2166ac"], [0.25, "#92c5de"], [0.5, "#f7f7f7"], [0.75, "#f4a582"], [1, "#b2182b"]]
DASHES = ("solid", "dash", "dot")
PATTERNS = ("", "/", ".")
SYMBOLS = ("circle", "diamond-open", "cross-thin-open")
SIGNIFICANT_DIGITS = 5
SMALLEST_SCALE, LARGEST_SCALE = 0.5, 3.0  # log2: noise does not fill it, one cell not empty it


@dataclass(frozen=True)
class TopicStyle:
    """How a topic looks, the same in every figure."""

    colour: str
    dash: str
    pattern: str
    symbol: str


def topic_style(index: int) -> TopicStyle:
    """Gives the topic at a position its look: a colour, and where colours repeat another shape."""
    turn = index // len(PALETTE) % len(DASHES)
    colour = PALETTE[index % len(PALETTE)]
    return TopicStyle(colour, DASHES[turn], PATTERNS[turn], SYMBOLS[turn])


def values(numbers: Any) -> list[Any]:
    """Rounds to 5 significant digits, as nested lists; what is not finite becomes a gap."""
    array = np.asarray(numbers, dtype=float)
    if array.ndim > 1:
        return [values(row) for row in array]
    return [
        float(f"{x:.{SIGNIFICANT_DIGITS}g}") if finite else None
        for x, finite in zip(array.tolist(), np.isfinite(array), strict=True)
    ]


def whiskers(middle: Any, low: Any, high: Any) -> dict[str, Any]:
    """Builds error bars from an interval."""
    middle, low, high = (np.asarray(x, dtype=float) for x in (middle, low, high))
    return {
        "type": "data",
        "symmetric": False,
        "array": values(high - middle),
        "arrayminus": values(middle - low),
        "thickness": 1.2,
        "width": 0,
    }


def figure(
    traces: Sequence[go.Bar | go.Scatter | go.Heatmap | go.Sankey],
    *,
    x_title: str,
    y_title: str,
    height: int = 340,
    **layout: Any,
) -> go.Figure:
    """Puts traces on the shared layout."""
    result = go.Figure(list(traces))
    result.update_layout(
        template="none",
        height=height,
        margin={"l": 64, "r": 20, "t": 24, "b": 52},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 13},
        hoverlabel={"align": "left", "font": {"family": "system-ui, sans-serif", "size": 13}},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
        xaxis={"title": {"text": x_title}, "automargin": True, "zeroline": False},
        yaxis={"title": {"text": y_title}, "automargin": True, "zeroline": False},
    )
    result.update_layout(**layout)
    return result


def ratio_scale(ratios: pd.Series) -> tuple[float, str]:
    """Where the colours of log2 ratios stop on either side, and a sentence if any lies beyond."""
    largest = float(ratios.abs().max())
    limit = min(LARGEST_SCALE, max(SMALLEST_SCALE, largest))
    told = f" Colours stop at ±{limit:g}, the numbers do not." if largest > limit else ""
    return limit, told


def baseline(result: go.Figure, value: float, text: str) -> None:
    """Draws a horizontal line for what chance or evenness would give, and names it."""
    result.add_hline(
        y=float(f"{value:.{SIGNIFICANT_DIGITS}g}"),
        line={"color": MUTED, "width": 1.5, "dash": "dash"},
        annotation={"text": text, "font": {"size": 12}},
        annotation_position="top right",
    )


def symbols(sure: pd.Series) -> list[str]:
    """Filled points for what passes its family-wise test, hollow ones for the rest.

    A null range is of one point alone: among many, some lie outside it by chance.
    """
    return ["circle" if passed else "circle-open" for passed in sure]


def against_null(
    labels: Sequence[str],
    observed: pd.Series,
    null: tuple[pd.Series, pd.Series],
    null_name: str,
    hover: Sequence[str],
    sure: pd.Series,
) -> list[go.Bar | go.Scatter]:
    """A point per label over a grey bar, the range that chance gives.

    Args:
        labels: on the axis.
        observed: the points.
        null: lower and upper ends of the bars.
        null_name: of the bars, in the legend.
        hover: text of each point.
        sure: whether a point passes its test (`symbols`).
    """
    low, high = null
    bars = go.Bar(
        x=labels,
        y=values(high - low),
        base=values(low),
        width=0.3,
        marker={"color": MUTED, "opacity": 0.5},
        name=null_name,
        hoverinfo="skip",
    )
    points = go.Scatter(
        x=labels,
        y=values(observed),
        mode="markers",
        marker={"color": ACCENT, "size": 10, "symbol": symbols(sure)},
        name="observed",
        hovertext=hover,
        hoverinfo="text",
    )
    return [bars, points]


def percent_axis(title: str) -> Mapping[str, Any]:
    """Labels a share axis in percent, from zero."""
    return {"title": {"text": title}, "tickformat": ".2~%", "rangemode": "tozero"}


def expert_axis(frame: pd.DataFrame) -> str:
    """Titles the axis of a layer's experts: their numbers mean nothing in another layer."""
    return f"expert of layer {frame.layer.iloc[0]}"


def expert_labels(experts: Sequence[int]) -> list[str]:
    """Labels experts within one layer: "E0", "E1", …"""
    return [f"E{expert}" for expert in experts]
