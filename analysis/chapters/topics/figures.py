"""Topics by layer, and the experts that are chosen for them more or less than for others."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ...html.records import rows
from ...html.text import interval_text, p_text, percent, percent_interval, plot_label
from ...html.theme import (
    ACCENT,
    DIVERGING,
    expert_axis,
    expert_labels,
    figure,
    percent_axis,
    symbols,
    values,
    whiskers,
)

ROW_HEIGHT, FRAME_HEIGHT = 30, 130
LONGEST_LABEL = 28
MARK = "●"


def topic_heatmap(
    cells: pd.DataFrame,
    topics: Sequence[str],
    *,
    limit: float,
    alpha: float,
    permutations: int,
) -> go.Figure:
    """log2 ratio of a topic's share to the mean of all topics, one layer.

    Args:
        cells: rows of `cells.topic_expert_cells` of one layer.
        topics: all topics; row i belongs to topic i.
        limit: end of the colour scale (log2), one for all layers.
        alpha: a dot marks cells with a family-wise p at or below it.
        permutations: behind the p-values.
    """
    experts = sorted(set(cells.expert))
    table = cells.set_index(["topic", "expert"]).loc[pd.MultiIndex.from_product([topics, experts])]
    shape = len(topics), len(experts)
    marks = np.where(table.p_value.to_numpy() <= alpha, MARK, "").reshape(shape)
    facts = [
        [
            interval_text(row.low, row.high),
            percent(row.share, 3),
            percent(row.base_share, 3),
            p_text(row.p_value, permutations),
            int(row.documents),
            int(row.tokens),
        ]
        for row in rows(table)
    ]
    labels = [plot_label(topic, LONGEST_LABEL) for topic in topics]
    heatmap = go.Heatmap(
        x=expert_labels(experts),
        y=labels,
        z=values(table.log2_ratio.to_numpy().reshape(shape)),
        text=marks.tolist(),
        texttemplate="%{text}",
        customdata=[facts[row * shape[1] : (row + 1) * shape[1]] for row in range(shape[0])],
        hovertemplate=f"<b>L{table.layer.iloc[0]}·%{{x}}</b> · %{{y}}<br>log2 ratio %{{z:.2f}}, "
        "%{customdata[0]}<br>%{customdata[1]} of the topic's tokens, mean of topics "
        "%{customdata[2]}<br>%{customdata[3]} (family-wise)<br>n = %{customdata[4]:,} "
        "documents, %{customdata[5]:,} tokens<extra></extra>",
        coloraxis="coloraxis",
        xgap=2,
        ygap=2,
        meta={"topic_rows": list(range(len(topics)))},
    )
    result = figure(
        [heatmap],
        x_title=expert_axis(cells),
        y_title="",
        height=FRAME_HEIGHT + ROW_HEIGHT * len(topics),
    )
    result.update_layout(
        coloraxis={
            "cmin": -limit,
            "cmax": limit,
            "colorscale": DIVERGING,
            "colorbar": {"title": {"text": "log2 ratio"}, "thickness": 12, "outlinewidth": 0},
        },
        meta={"diverging": True},
    )
    result.update_xaxes(showgrid=False)
    result.update_yaxes(autorange="reversed", showgrid=False)
    return result


def depth_figure(information: pd.DataFrame, alpha: float) -> go.Figure:
    """Topic information by layer above its null band (`information.topic_information`)."""
    layers = [f"layer {layer}" for layer in information.layer]
    scale = information.max_bits
    null_low = (information.null_low - information.null_bits) / scale
    null_high = (information.null_high - information.null_bits) / scale
    hover = [
        f"<b>layer {row.layer}</b><br>{percent(row.share, 3)} of log2 T ({row.band})<br>"
        f"{percent_interval(row.share_low, row.share_high, 3)}<br>{row.bits:.4g} "
        f"bits (of token counts, bias not taken off: {row.plug_in_bits:.4g})<br>"
        f"{p_text(row.family_p_value, row.permutations)} (family-wise)"
        for row in rows(information)
    ]
    edge = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
    traces = [
        go.Scatter(x=layers, y=values(null_high), showlegend=False, **edge),
        go.Scatter(
            x=layers,
            y=values(null_low),
            fill="tonexty",
            fillcolor="rgba(138,144,153,0.35)",
            name="95% of shuffled topics",
            **edge,
        ),
        go.Scatter(
            x=layers,
            y=values(information.share),
            error_y=whiskers(information.share, information.share_low, information.share_high)
            | {"color": ACCENT},
            mode="lines+markers",
            line={"color": ACCENT, "width": 2},
            marker={"size": 10, "symbol": symbols(information.family_p_value <= alpha)},
            name="topic information",
            hovertext=hover,
            hoverinfo="text",
        ),
    ]
    result = figure(traces, x_title="", y_title="", height=360)
    result.update_yaxes(**percent_axis("share of log2 T"), zeroline=True)
    return result
