"""What the model saw: documents per topic, their length, and the words that topics share."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ...html.text import plot_label
from ...html.theme import ACCENT, MUTED, PALETTE, figure, values

ROW_HEIGHT, FRAME_HEIGHT, LONGEST_LABEL = 30, 130, 28


def documents_figure(documents: pd.DataFrame, topics: Sequence[str]) -> go.Figure:
    """Stacked bars of documents per topic and split."""
    traces = []
    for index, (split, part) in enumerate(documents.groupby("split", sort=False)):
        counts = part.set_index("topic").documents.reindex(list(topics))
        traces.append(
            go.Bar(
                y=_labels(topics),
                x=[int(count) for count in counts],
                orientation="h",
                name=str(split),
                marker={"color": PALETTE[index % len(PALETTE)]},
                meta={"topic_rows": list(range(len(topics)))},
                hovertemplate=f"<b>%{{y}}</b><br>{split}: %{{x:,}} documents<extra></extra>",
            )
        )
    height = FRAME_HEIGHT + ROW_HEIGHT * len(topics)
    result = figure(traces, x_title="documents", y_title="", height=height, barmode="stack")
    result.update_layout(legend={"traceorder": "normal"})
    result.update_yaxes(autorange="reversed", showgrid=False)
    return result


def lengths_figure(lengths: pd.DataFrame) -> go.Figure:
    """Words per document: median, middle half and 5 to 95% by topic."""
    labels = _labels(lengths.topic.tolist())
    rows = {"topic_rows": list(range(len(labels)))}
    spans = [
        go.Bar(
            y=labels,
            x=values(lengths[high] - lengths[low]),
            base=values(lengths[low]),
            orientation="h",
            width=width,
            marker={"color": colour},
            name=name,
            meta=rows,
            customdata=[list(pair) for pair in zip(lengths[low], lengths[high], strict=True)],
            hovertemplate=f"<b>%{{y}}</b><br>{name}: %{{customdata[0]:,.0f}} to "
            "%{customdata[1]:,.0f} words<extra></extra>",
        )
        for low, high, width, colour, name in (
            ("p5", "p95", 0.16, MUTED, "5 to 95% of documents"),
            ("p25", "p75", 0.5, ACCENT, "middle half"),
        )
    ]
    median = go.Scatter(
        y=labels,
        x=values(lengths["median"]),
        mode="markers",
        marker={"symbol": "line-ns-open", "size": 16, "color": "#ffffff", "line": {"width": 2.5}},
        name="median",
        meta=rows,
        showlegend=False,
        hovertemplate="<b>%{y}</b><br>median %{x:,.0f} words<extra></extra>",
    )
    height = FRAME_HEIGHT + ROW_HEIGHT * len(labels)
    result = figure([*spans, median], x_title="words per document", y_title="", height=height)
    result.update_layout(barmode="overlay")
    result.update_xaxes(rangemode="tozero")
    result.update_yaxes(autorange="reversed", showgrid=False)
    return result


def overlap_figure(overlap: pd.DataFrame, topics: Sequence[str]) -> go.Figure:
    """Share of words in common, topic by topic; the diagonal is left out."""
    table = overlap.pivot_table(index="topic", columns="other", values="overlap", sort=False)
    shares = table.loc[list(topics), list(topics)].to_numpy(dtype=float, copy=True)
    np.fill_diagonal(shares, np.nan)
    heatmap = go.Heatmap(
        x=_labels(topics),
        y=_labels(topics),
        z=values(shares),
        hovertemplate="%{y} and %{x}<br>%{z:.1%} of words in common<extra></extra>",
        hoverongaps=False,
        colorscale="Cividis",
        zmin=0,
        zmax=1,
        xgap=2,
        ygap=2,
        meta={"topic_rows": list(range(len(topics)))},
        colorbar={"title": {"text": "shared"}, "tickformat": ".0%", "thickness": 12},
    )
    height = FRAME_HEIGHT + 70 + ROW_HEIGHT * len(topics)
    result = figure([heatmap], x_title="", y_title="", height=height)
    result.update_xaxes(showgrid=False)
    result.update_yaxes(autorange="reversed", showgrid=False)
    return result


def _labels(topics: Sequence[str]) -> list[str]:
    return [plot_label(topic, LONGEST_LABEL) for topic in topics]
