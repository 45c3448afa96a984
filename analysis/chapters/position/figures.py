"""Strata: masked positions against untouched text, and the router's entropy at each kind."""

import pandas as pd
import plotly.graph_objects as go

from ...html.records import rows
from ...html.text import expert_name, interval_text, number, percent
from ...html.theme import (
    ACCENT,
    MUTED,
    PALETTE,
    baseline,
    expert_axis,
    expert_labels,
    figure,
    percent_axis,
    values,
)


def masked_figure(masked: pd.DataFrame) -> go.Figure:
    """Share of [MASK] and of untouched tokens per expert, one layer (`measures.masked_experts`)."""
    hover = [
        f"<b>{expert_name(row.layer, row.expert)}</b><br>{percent(row.masked_share, 3)} of [MASK] "
        f"tokens<br>{percent(row.untouched_share, 3)} of untouched tokens<br>log2 ratio "
        f"{number(row.log2_ratio)}, {interval_text(row.low, row.high)}"
        for row in rows(masked)
    ]
    bars = [
        go.Bar(
            x=expert_labels(masked.expert.tolist()),
            y=values(masked[column]),
            name=name,
            marker={"color": colour, "pattern": {"shape": pattern}},
            hovertext=hover,
            hoverinfo="text",
        )
        for column, name, colour, pattern in (
            ("untouched_share", "untouched tokens", MUTED, ""),
            ("masked_share", "[MASK] tokens", ACCENT, ""),
        )
    ]
    result = figure(bars, x_title=expert_axis(masked), y_title="")
    result.update_layout(barmode="group", bargap=0.25)
    result.update_yaxes(**percent_axis("share of that kind's tokens"))
    chance = masked.chance.iloc[0]
    baseline(result, chance, f"even share {percent(chance, 3)}")
    return result


def mask_kind_figure(mask_kinds: pd.DataFrame) -> go.Figure:
    """Share of the tokens of every mask kind per expert, one layer (`measures.mask_kind_load`)."""
    table = mask_kinds.pivot_table(index="mask_kind", columns="expert", values="share", sort=False)
    heatmap = go.Heatmap(
        x=expert_labels([int(x) for x in table.columns]),
        y=list(table.index),
        z=values(table.to_numpy()),
        texttemplate="%{z:.0%}" if table.shape[1] <= 16 else None,
        hovertemplate="%{y} · %{x}<br>%{z:.3p} of that kind's tokens<extra></extra>",
        colorscale="Cividis",
        zmin=0,
        xgap=2,
        ygap=2,
        colorbar={"title": {"text": "share"}, "tickformat": ".0%", "thickness": 12},
    )
    result = figure(
        [heatmap],
        x_title=expert_axis(mask_kinds),
        y_title="",
        height=130 + 34 * len(table),
    )
    result.update_xaxes(showgrid=False)
    result.update_yaxes(autorange="reversed", showgrid=False)
    return result


def entropy_figure(entropy: pd.DataFrame) -> go.Figure:
    """Mean router entropy by layer, a line per mask kind (`measures.router_entropy`)."""
    traces = [
        go.Scatter(
            x=[f"layer {layer}" for layer in own.layer],
            y=values(own.entropy),
            mode="lines+markers",
            name=str(mask_kind),
            line={"color": PALETTE[index % len(PALETTE)], "width": 2},
            marker={"size": 8, "symbol": index},
            hovertemplate=f"<b>%{{x}}</b><br>{mask_kind}: %{{y:.3f}} bits<extra></extra>",
        )
        for index, (mask_kind, own) in enumerate(entropy.groupby("mask_kind", sort=False))
    ]
    result = figure(traces, x_title="", y_title="bits")
    result.update_yaxes(rangemode="tozero")
    top = float(entropy.max_entropy.iloc[0])
    baseline(result, top, f"undecided router: {number(top)} bits")
    return result
