"""Load: how the tokens spread over the experts of one layer, and how evenly by layer."""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from ...html.records import rows
from ...html.text import expert_name, interval_text, number, percent, percent_interval, plot_label
from ...html.theme import (
    ACCENT,
    MUTED,
    baseline,
    expert_axis,
    expert_labels,
    figure,
    percent_axis,
    topic_style,
    values,
    whiskers,
)

MOST_BARS = 96  # of one figure; more are drawn as points, their intervals on hover


def load_figure(load: pd.DataFrame) -> go.Figure:
    """Bars of the share of tokens per expert, one layer (rows of `measures.expert_load`)."""
    hover = [
        f"<b>{expert_name(row.layer, row.expert)}</b><br>{percent(row.share, 3)} of tokens"
        f"<br>{percent_interval(row.low, row.high, 3)}"
        f"<br>even share {percent(row.chance, 3)}"
        for row in rows(load)
    ]
    bars = go.Bar(
        x=expert_labels(load.expert.tolist()),
        y=values(load.share),
        error_y=whiskers(load.share, load.low, load.high) | {"color": MUTED},
        marker={"color": ACCENT},
        hovertext=hover,
        hoverinfo="text",
    )
    result = figure([bars], x_title=expert_axis(load), y_title="")
    result.update_yaxes(**percent_axis("share of tokens"))
    baseline(result, load.chance.iloc[0], f"even share {percent(load.chance.iloc[0], 3)}")
    return result


def topic_load_figure(cells: pd.DataFrame, topics: Sequence[str]) -> go.Figure:
    """Share of each topic's tokens per expert, one layer: bars, or points where there are many.

    Args:
        cells: rows of `cells.topic_expert_cells` of one layer.
        topics: all topics, in the order that gives them their colours.
    """
    traces = []
    for index, topic in enumerate(topics):
        own = cells[cells.topic == topic]
        style = topic_style(index)
        name = plot_label(topic)
        shared = {
            "x": expert_labels(own.expert.tolist()),
            "y": values(own.share),
            "name": name,
            "meta": {"topic": index},
            "customdata": [
                [percent_interval(row.share_low, row.share_high, 3), percent(row.base_share, 3)]
                for row in rows(own)
            ],
            "hovertemplate": f"<b>L{own.layer.iloc[0]}·%{{x}}</b> · {name}<br>%{{y:.3p}} of the "
            "topic's tokens<br>%{customdata[0]}<br>mean of topics %{customdata[1]}<br>"
            f"n = {own.documents.iloc[0]:,} documents<extra></extra>",
        }
        if len(cells) > MOST_BARS:
            marker = {"color": style.colour, "symbol": style.symbol, "size": 7}
            traces.append(go.Scatter(**shared, mode="markers", marker=marker))
        else:
            bars = whiskers(own.share, own.share_low, own.share_high) | {"color": MUTED}
            marker = {"color": style.colour, "pattern": {"shape": style.pattern}}
            traces.append(go.Bar(**shared, error_y=bars, marker=marker))
    result = figure(traces, x_title=expert_axis(cells), y_title="", height=400)
    result.update_layout(barmode="group", bargap=0.25, bargroupgap=0.05)
    result.update_yaxes(**percent_axis("share of the topic's tokens"))
    chance = cells.chance.iloc[0]
    baseline(result, chance, f"even share {percent(chance, 3)}")
    return result


def balance_figure(balance: pd.DataFrame) -> go.Figure:
    """MaxVio by layer with intervals (rows of `measures.layer_balance`)."""
    hover = [
        f"<b>layer {row.layer}</b><br>MaxVio {number(row.max_violation)}<br>"
        f"{interval_text(row.max_violation_low, row.max_violation_high, 3)}<br>chance adds at "
        f"most {number(row.max_violation_bias)}<br>effective experts "
        f"{number(row.effective_experts)} of {row.experts}<br>dead experts {row.dead_experts}"
        for row in rows(balance)
    ]
    points = go.Scatter(
        x=[f"layer {layer}" for layer in balance.layer],
        y=values(balance.max_violation),
        error_y=whiskers(
            balance.max_violation, balance.max_violation_low, balance.max_violation_high
        )
        | {"color": ACCENT},
        mode="markers",
        marker={"color": ACCENT, "size": 10},
        hovertext=hover,
        hoverinfo="text",
    )
    result = figure([points], x_title="", y_title="MaxVio", height=280)
    result.update_yaxes(rangemode="tozero")
    baseline(result, 0.0, "perfect balance")
    return result
