"""Experts among themselves: pairs, flow between layers, neighbours, confidence."""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from ..records import rows
from ..text import expert_name, number, percent, plot_label
from .theme import (
    ACCENT,
    DIVERGING,
    MUTED,
    PALETTE,
    SECOND,
    expert_axis,
    expert_labels,
    figure,
    percent_axis,
    values,
)

MOST_LINKS = 240
LONGEST_LABEL = 28


def pair_figure(pairs: pd.DataFrame, limit: float) -> go.Figure:
    """log2 of observed over expected pairs, one layer (`coactivation.coactivation_pairs`)."""
    table = pairs.pivot_table(index="expert", columns="other", values="log2_ratio", dropna=False)
    labels = expert_labels([int(expert) for expert in table.index])
    lift = pairs.pivot_table(index="expert", columns="other", values="lift", dropna=False)
    heatmap = go.Heatmap(
        x=labels,
        y=labels,
        z=values(table.to_numpy(dtype=float)),
        customdata=values(lift.to_numpy(dtype=float)),
        hovertemplate=f"<b>L{pairs.layer.iloc[0]}</b> %{{y}} with %{{x}}<br>log2 ratio %{{z:.2f}}"
        "<br>lift %{customdata:.3f}<extra></extra>",
        hoverongaps=False,
        coloraxis="coloraxis",
        xgap=1,
        ygap=1,
    )
    height = 150 + max(160, min(26 * len(labels), 640))
    axis = expert_axis(pairs)
    result = figure([heatmap], x_title=axis, y_title=axis, height=height)
    scale = {"cmin": -limit, "cmax": limit, "colorscale": DIVERGING}
    bar = {"title": {"text": "log2 ratio"}, "thickness": 12, "outlinewidth": 0}
    result.update_layout(coloraxis={**scale, "colorbar": bar}, meta={"diverging": True})
    result.update_xaxes(showgrid=False)
    result.update_yaxes(autorange="reversed", showgrid=False)
    return result


def flow_figure(flows: pd.DataFrame, threshold: float) -> go.Figure:
    """Sankey diagram of first choices from layer to layer (`coactivation.layer_flow`).

    Args:
        flows: all pairs of layers.
        threshold: smallest share of tokens of a drawn link; of more than 240, the largest.
    """
    drawn = flows[flows.share >= threshold].nlargest(MOST_LINKS, "share").sort_index()
    ends = [(row.layer, row.expert) for row in rows(drawn)]
    ends += [(row.next_layer, row.next_expert) for row in rows(drawn)]
    nodes = sorted(set(ends))
    place = {node: index for index, node in enumerate(nodes)}
    layers = sorted({layer for layer, _ in nodes})
    colours = [PALETTE[layers.index(layer) % len(PALETTE)] for layer, _ in nodes]
    sankey = go.Sankey(
        arrangement="snap",
        node={
            "label": [expert_name(layer, expert) for layer, expert in nodes],
            "color": colours,
            "pad": 8,
            "thickness": 12,
        },
        link={
            "source": [place[row.layer, row.expert] for row in rows(drawn)],
            "target": [place[row.next_layer, row.next_expert] for row in rows(drawn)],
            "value": values(drawn.share),
            "color": "rgba(138,144,153,0.35)",
            "customdata": [
                f"{percent(row.share)} of tokens, {percent(row.base_share)} by load alone"
                for row in rows(drawn)
            ],
            "hovertemplate": "%{source.label} → %{target.label}<br>%{customdata}<extra></extra>",
        },
    )
    busiest = max((sum(layer == own for own, _ in nodes) for layer in layers), default=1)
    height = min(720, 160 + 26 * busiest)
    result = figure([sankey], x_title="", y_title="", height=height)
    result.update_xaxes(visible=False)
    result.update_yaxes(visible=False)
    return result


def locality_figure(local: pd.DataFrame) -> go.Figure:
    """Share of equal first choices by distance, one layer (`locality.locality`)."""
    traces = [
        go.Scatter(
            x=local.lag.tolist(),
            y=values(local[column]),
            mode="lines+markers",
            name=name,
            line={"color": colour, "width": 2, "dash": dash},
            marker={"size": 7},
            hovertemplate=f"{name}<br>%{{x}} apart: %{{y:.3p}}<extra></extra>",
        )
        for column, name, colour, dash in (
            ("same", "observed", ACCENT, "solid"),
            ("shuffled", "shuffled within documents", SECOND, "dot"),
            ("chance", "load alone", MUTED, "dash"),
        )
    ]
    result = figure(traces, x_title="positions apart", y_title="", height=320)
    result.update_yaxes(**percent_axis("same first choice"))
    return result


def confidence_figure(confidence: pd.DataFrame, topics: Sequence[str]) -> go.Figure:
    """Mass of the chosen experts and margin by topic, one layer (`locality.confidence`)."""
    own = confidence.set_index("topic").reindex([t for t in topics if t in set(confidence.topic)])
    labels = [plot_label(str(topic), LONGEST_LABEL) for topic in own.index]
    bars = [
        go.Bar(
            y=labels,
            x=values(own[column]),
            orientation="h",
            name=name,
            marker={"color": colour},
            meta={"topic_rows": [list(topics).index(str(topic)) for topic in own.index]},
            hovertemplate=f"<b>%{{y}}</b><br>{name} %{{x:.3p}}; mean of topics "
            f"{number(100 * own['base_' + column].iloc[0])}%<extra></extra>",
        )
        for column, name, colour in (
            ("mass", "probability of the chosen", ACCENT),
            ("margin", "margin over the next expert", SECOND),
        )
    ]
    height = 130 + 34 * len(labels)
    result = figure(bars, x_title="", y_title="", height=height, barmode="group")
    result.update_xaxes(**percent_axis("probability"))
    result.update_yaxes(autorange="reversed", showgrid=False)
    return result
