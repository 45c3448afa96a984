"""Depth: topic information and vocabulary specialisation, layer by layer."""

import pandas as pd
import plotly.graph_objects as go

from ...html.records import rows
from ...html.text import p_text, percent, percent_interval
from ...html.theme import ACCENT, MUTED, SECOND, figure, percent_axis, symbols, values, whiskers


def depth_figure(information: pd.DataFrame, alpha: float) -> go.Figure:
    """Topic information by layer above its null band (`information.topic_information`)."""
    layers = [f"layer {layer}" for layer in information.layer]
    scale = information.max_bits
    null_low = (information.null_low - information.null_bits) / scale
    null_high = (information.null_high - information.null_bits) / scale
    hover = [
        f"<b>layer {row.layer}</b><br>{percent(row.share, 3)} of log2 T ({row.band})<br>"
        f"{percent_interval(row.share_low, row.share_high, 3)}<br>{row.bits:.4g} "
        f"bits above chance (plug-in {row.plug_in_bits:.4g}, null {row.null_bits:.4g})<br>"
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
