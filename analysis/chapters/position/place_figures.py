"""Routing by position and special token, and the router's entropy there."""

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ...html.records import rows
from ...html.text import number, percent, plot_label
from ...html.theme import PALETTE, baseline, expert_axis, expert_labels, figure, values

ROW_HEIGHT, FRAME_HEIGHT = 18, 130


def place_figure(frame: pd.DataFrame) -> go.Figure:
    """Share of each place's tokens per expert, one layer (`places.place_routing`)."""
    table = frame.assign(row=_labels(frame)).pivot_table(
        index="row", columns="expert", values="share", sort=False
    )
    sizes: dict[Any, int] = dict(zip(_labels(frame), frame.tokens, strict=True))
    hover = [
        [f"<b>{row}</b> · E{i}<br>{percent(x, 3)} of {sizes[row]:,} tokens" for i, x in own.items()]
        for row, own in table.iterrows()
    ]
    heatmap = go.Heatmap(
        x=expert_labels([int(x) for x in table.columns]),
        y=list(table.index),
        z=values(table.to_numpy()),
        hovertext=hover,
        hoverinfo="text",
        colorscale="Cividis",
        zmin=0,
        xgap=1,
        ygap=1,
        colorbar={"title": {"text": "share"}, "tickformat": ".0%", "thickness": 12},
    )
    height = FRAME_HEIGHT + ROW_HEIGHT * len(table)
    result = figure([heatmap], x_title=expert_axis(frame), y_title="", height=height)
    result.update_xaxes(showgrid=False)
    result.update_yaxes(autorange="reversed", showgrid=False, tickmode="linear")
    return result


def place_entropy_figure(frame: pd.DataFrame) -> go.Figure:
    """Mean router entropy by position and of special tokens, one layer."""
    points = frame.drop_duplicates(["mask_kind", "place"])
    traces = [
        go.Scatter(
            x=[plot_label(place) for place in own.place],
            y=values(own.entropy),
            mode="markers" if mask_kind == "special" else "lines+markers",
            name=_kind_name(str(mask_kind)),
            line={"color": PALETTE[index % len(PALETTE)], "width": 2},
            marker={"size": 8, "symbol": index},
            hovertext=[f"{number(row.entropy)} bits, {row.tokens:,} tokens" for row in rows(own)],
            hoverinfo="x+name+text",
        )
        for index, (mask_kind, own) in enumerate(points.groupby("mask_kind", sort=False))
    ]
    title = "position in tokens, or special token"
    result = figure(traces, x_title=title, y_title="bits")
    result.update_yaxes(rangemode="tozero")
    top = float(np.log2(frame.expert.nunique()))
    baseline(result, top, f"undecided router: {number(top)} bits")
    return result


def _labels(frame: pd.DataFrame) -> list[str]:
    return [
        plot_label(row.place)
        if row.mask_kind == "special"
        else f"{_kind_name(row.mask_kind)} {row.place}"
        for row in rows(frame)
    ]


def _kind_name(mask_kind: str) -> str:
    return "[MASK]" if mask_kind == "masked" else mask_kind
