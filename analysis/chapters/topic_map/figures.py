"""Topic map: distances between topics, documents in two dimensions, and the signature probe."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from ...html.records import rows
from ...html.text import percent, plot_label
from ...html.theme import (
    TopicStyle,
    figure,
    topic_style,
    values,
)

ROW_HEIGHT, FRAME_HEIGHT, LONGEST_LABEL = 30, 190, 28


def distance_figure(
    distances: pd.DataFrame, order: Sequence[str], topics: Sequence[str], limit: float
) -> go.Figure:
    """Distance over its noise ceiling, topic by topic, one layer (`measures.topic_map`).

    Args:
        distances: rows of one layer.
        order: topics, similar ones side by side.
        topics: all topics; the row of topic i is marked i.
        limit: end of the colour scale, one for all layers.
    """
    table = distances.pivot_table(index="topic", columns="other", values="ratio", dropna=False)
    labels = [plot_label(topic, LONGEST_LABEL) for topic in order]
    heatmap = go.Heatmap(
        x=labels,
        y=labels,
        z=values(table.reindex(index=list(order), columns=list(order)).to_numpy(dtype=float)),
        hovertemplate="%{y} and %{x}<br>%{z:.2f} times the distance of halves of one topic"
        "<extra></extra>",
        hoverongaps=False,
        colorscale="Cividis",
        zmin=1,
        zmax=limit,
        xgap=2,
        ygap=2,
        meta={"topic_rows": [list(topics).index(topic) for topic in order]},
        colorbar={"title": {"text": "ratio"}, "thickness": 12},
    )
    height = FRAME_HEIGHT + ROW_HEIGHT * len(order)
    result = figure([heatmap], x_title="", y_title="", height=height)
    result.update_xaxes(showgrid=False)
    result.update_yaxes(autorange="reversed", showgrid=False)
    return result


def points_figure(points: pd.DataFrame, topics: Sequence[str]) -> go.Figure:
    """Documents by their expert shares, one layer (`measures.document_points`)."""
    traces = []
    for index, topic in enumerate(topics):
        own, style = points[points.topic == topic], topic_style(index)
        traces.append(
            go.Scatter(
                x=values(own.x.round(3)),
                y=values(own.y.round(3)),
                mode="markers",
                name=plot_label(topic),
                meta={"topic": index},
                marker=_marker(style),
                hovertemplate=f"{plot_label(topic)}<extra></extra>",
            )
        )
    first = rows(points)[0]
    return figure(
        traces,
        x_title=f"first component ({percent(first.x_share)} of the variance)",
        y_title=f"second ({percent(first.y_share)})",
        height=460,
    )


def _marker(style: TopicStyle) -> dict[str, Any]:
    """A document's point: thin outlines fade into the ground, so they are opaque and thicker."""
    look: dict[str, Any] = {"color": style.colour, "symbol": style.symbol}
    if "open" in style.symbol:
        return look | {"size": 7, "line": {"width": 1.6}}
    return look | {"size": 6, "opacity": 0.7}
