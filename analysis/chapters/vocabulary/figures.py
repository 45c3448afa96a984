"""Vocabulary specialisation by layer."""

import pandas as pd
import plotly.graph_objects as go

from ...html.theme import ACCENT, MUTED, SECOND, figure, percent_axis, values


def specialisation_figure(vocabulary: pd.DataFrame) -> go.Figure:
    """Vocabulary specialisation by layer beside its chance floor."""
    layers = [f"layer {layer}" for layer in vocabulary.layer]
    traces = [
        go.Scatter(
            x=layers,
            y=values(vocabulary[column]),
            mode="lines+markers",
            name=name,
            line={"color": colour, "width": 2, "dash": dash},
            marker={"size": 9},
            hovertemplate=f"<b>%{{x}}</b><br>{name} %{{y:.3p}}<extra></extra>",
        )
        for column, name, colour, dash in (
            ("observed", "observed", ACCENT, "solid"),
            ("floor", "chance floor", MUTED, "dash"),
            ("excess", "excess over chance", SECOND, "dot"),
        )
    ]
    result = figure(traces, x_title="", y_title="")
    result.update_yaxes(**percent_axis("share of a type's tokens"))
    return result
