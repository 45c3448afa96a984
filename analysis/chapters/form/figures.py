"""Forms: topic, token class and token identity side by side, and classes by expert."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ...html.records import rows
from ...html.text import interval_text, percent, plot_label
from ...html.theme import (
    DIVERGING,
    PALETTE,
    expert_axis,
    expert_labels,
    figure,
    percent_axis,
    values,
)


def forms_figure(forms: pd.DataFrame) -> go.Figure:
    """Share of the routing's entropy that each form explains, by layer (`forms`)."""
    bars = [
        go.Bar(
            x=[f"layer {layer}" for layer in own.layer],
            y=values(own.share.clip(lower=0)),
            name=str(by),
            marker={"color": PALETTE[index % len(PALETTE)]},
            hovertemplate=f"<b>%{{x}}</b><br>{by}: %{{y:.3p}} of H(e)<extra></extra>",
        )
        for index, (by, own) in enumerate(forms.groupby("by", sort=False))
    ]
    result = figure(bars, x_title="", y_title="", barmode="group", bargap=0.25)
    result.update_yaxes(**percent_axis("share of H(e)"))
    return result


def class_heatmap(cells: pd.DataFrame, limit: float) -> go.Figure:
    """log2 ratio of a token class's share to all tokens, one layer (`measures.class_cells`)."""
    table = cells.pivot_table(index="class", columns="expert", values="log2_ratio", sort=False)
    hover = [
        f"{percent(row.share, 3)} of {row.tokens:,} tokens, all tokens "
        f"{percent(row.base_share, 3)}<br>{interval_text(row.low, row.high)}"
        for row in rows(cells)
    ]
    heatmap = go.Heatmap(
        x=expert_labels([int(expert) for expert in table.columns]),
        y=[plot_label(str(name)) for name in table.index],
        z=values(table.to_numpy()),
        hovertext=np.array(hover, dtype=np.object_).reshape(table.shape).tolist(),
        hovertemplate=f"<b>L{cells.layer.iloc[0]}·%{{x}}</b> · %{{y}}<br>log2 ratio %{{z:.2f}}<br>"
        "%{hovertext}<extra></extra>",
        coloraxis="coloraxis",
        xgap=2,
        ygap=2,
    )
    result = figure([heatmap], x_title=expert_axis(cells), y_title="", height=130 + 30 * len(table))
    scale = {"cmin": -limit, "cmax": limit, "colorscale": DIVERGING}
    bar = {"title": {"text": "log2 ratio"}, "thickness": 12, "outlinewidth": 0}
    result.update_layout(coloraxis={**scale, "colorbar": bar}, meta={"diverging": True})
    result.update_xaxes(showgrid=False)
    result.update_yaxes(autorange="reversed", showgrid=False)
    return result
