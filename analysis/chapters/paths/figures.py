"""Experts among themselves: pairs, flow between layers, neighbours, confidence."""

import pandas as pd
import plotly.graph_objects as go

from ...html.records import rows
from ...html.text import expert_name, percent
from ...html.theme import (
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

WIDE_GAP, NARROW_GAP, FEW_NODES = 8, 2, 20  # pixels between the experts of a flow
TALLEST_FLOW, FLOW_MARGINS, LABEL_HEIGHT = 1200, 76, 16  # pixels
LONGEST_LABEL = 28


def pair_figure(pairs: pd.DataFrame, limit: float) -> go.Figure:
    """log2 of observed over expected pairs, one layer (`measures.coactivation_pairs`)."""
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


def flow_figure(drawn: pd.DataFrame) -> go.Figure:
    """Sankey diagram of first choices from layer to layer.

    Args:
        drawn: the bands (rows of `measures.layer_flow`).
    """
    nodes = _nodes(drawn)
    place = {node: index for index, node in enumerate(nodes.index)}
    names = [expert_name(layer, expert) for layer, expert in nodes.index]
    layers = sorted({layer for layer, _ in nodes.index})
    busiest = int(nodes.groupby("layer").size().max())
    gap = WIDE_GAP if busiest <= FEW_NODES else NARROW_GAP
    height = min(TALLEST_FLOW, 160 + 26 * busiest)
    labelled = _fits(nodes, height - FLOW_MARGINS, gap)
    sankey = go.Sankey(
        arrangement="snap",
        node={
            "label": [name if fits else "" for name, fits in zip(names, labelled, strict=True)],
            "color": [PALETTE[layers.index(layer) % len(PALETTE)] for layer, _ in nodes.index],
            "pad": gap,
            "thickness": 12,
            "customdata": [
                f"{name}: {percent(x)} of tokens drawn"
                for name, x in zip(names, nodes, strict=True)
            ],
            "hovertemplate": "%{customdata}<extra></extra>",
        },
        link={
            "source": [place[row.layer, row.expert] for row in rows(drawn)],
            "target": [place[row.next_layer, row.next_expert] for row in rows(drawn)],
            "value": values(drawn.share),
            "color": "rgba(138,144,153,0.35)",
            "customdata": [
                f"{expert_name(row.layer, row.expert)} → "
                f"{expert_name(row.next_layer, row.next_expert)}<br>{percent(row.share)} of "
                f"tokens, {percent(row.base_share)} by load alone"
                for row in rows(drawn)
            ],
            "hovertemplate": "%{customdata}<extra></extra>",
        },
    )
    result = figure([sankey], x_title="", y_title="", height=height)
    result.update_xaxes(visible=False)
    result.update_yaxes(visible=False)
    return result


def _nodes(drawn: pd.DataFrame) -> pd.Series:
    """Share of tokens through each (layer, expert) in the bands drawn: in or out, the larger."""
    names = ["layer", "expert"]
    out = drawn.groupby(names).share.sum()
    into = drawn.groupby(["next_layer", "next_expert"]).share.sum().rename_axis(names)
    return pd.concat([out, into], axis=1).max(axis=1).sort_index()


def _fits(nodes: pd.Series, height: float, gap: float) -> pd.Series:
    """Whether a node is tall enough for its label not to touch its neighbours'.

    Args:
        nodes: `_nodes`.
        height: pixels of the diagram.
        gap: pixels between nodes.
    """
    columns = nodes.groupby("layer")
    scale = ((height - gap * (columns.size() - 1)) / columns.sum()).min()  # pixels of all tokens
    return scale * nodes + gap >= LABEL_HEIGHT


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
