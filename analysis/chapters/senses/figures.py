"""Senses: how far a token's routing by sense is apart, beside what permuted senses give."""

import pandas as pd
import plotly.graph_objects as go

from ...html.records import rows
from ...html.text import number, p_text, plot_label
from ...html.theme import ACCENT, MUTED, figure, symbols, values

ROW_HEIGHT, FRAME_HEIGHT, LONGEST_LABEL = 34, 150, 28


def senses_figure(tokens: pd.DataFrame, permutations: int, alpha: float) -> go.Figure:
    """Distance by sense and its null, tokens of one layer (`senses.SenseResults.tokens`)."""
    labels = [plot_label(row.token, LONGEST_LABEL) for row in rows(tokens)]
    hover = [
        f"<b>{label}</b><br>distance {number(row.distance)}, null {number(row.null_mean)}, 97.5% "
        f"of the null below {number(row.null_high)}<br>{row.senses} senses, {row.occurrences:,} "
        f"occurrences in {row.texts:,} texts<br>family-wise "
        f"{p_text(row.family_p_value, permutations)}"
        for label, row in zip(labels, rows(tokens), strict=True)
    ]
    null = go.Bar(
        y=labels,
        x=values(tokens.null_high),
        orientation="h",
        width=0.5,
        marker={"color": MUTED, "opacity": 0.4},
        name="97.5% of permuted senses",
        hoverinfo="skip",
    )
    observed = go.Scatter(
        y=labels,
        x=values(tokens.distance),
        mode="markers",
        marker={
            "color": ACCENT,
            "size": 10,
            "symbol": symbols(tokens.family_p_value <= alpha),
        },
        name="senses as labelled",
        hovertext=hover,
        hoverinfo="text",
    )
    height = FRAME_HEIGHT + ROW_HEIGHT * len(labels)
    result = figure([null, observed], x_title="distance", y_title="", height=height)
    result.update_xaxes(rangemode="tozero")
    result.update_yaxes(autorange="reversed", showgrid=False)
    return result
