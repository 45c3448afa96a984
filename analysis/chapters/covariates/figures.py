"""Covariates beside topic, token class and token, by layer."""

import pandas as pd
import plotly.graph_objects as go

from ...html.records import rows
from ...html.text import percent
from ...html.theme import PALETTE, figure, percent_axis, values


def covariate_figure(explained: pd.DataFrame) -> go.Figure:
    """Share of the routing's entropy that each explains, all of one layer side by side."""
    bars = []
    for index, (by, own) in enumerate(explained.groupby("by", sort=False)):
        hover = [
            f"<b>layer {row.layer}</b>, {by}: {percent(row.share, 3)} of H(e)"
            + (f"<br>exchanged, 97.5% below {percent(row.null_high, 3)}" if row.tested else "")
            for row in rows(own.assign(tested=own.null_high.notna()))
        ]
        bars.append(
            go.Bar(
                x=[f"layer {layer}" for layer in own.layer],
                y=values(own.share.clip(lower=0)),
                name=str(by),
                marker={"color": PALETTE[index % len(PALETTE)]},
                hovertext=hover,
                hoverinfo="text",
            )
        )
    result = figure(bars, x_title="", y_title="", barmode="group", bargap=0.25)
    result.update_yaxes(**percent_axis("share of H(e)"))
    return result
