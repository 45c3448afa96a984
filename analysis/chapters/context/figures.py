"""Topic beyond vocabulary: the residual test by layer, and what the token mix reproduces."""

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from ...html.records import rows
from ...html.text import p_text, percent
from ...html.theme import (
    ACCENT,
    MUTED,
    PALETTE,
    against_null,
    baseline,
    figure,
    percent_axis,
    values,
    whiskers,
)


def residual_figure(beyond: pd.DataFrame, alpha: float) -> go.Figure:
    """Residual statistic over its null mean, by layer (`measures.beyond_vocabulary`)."""
    layers = [f"layer {layer}" for layer in beyond.layer]
    hover = [
        f"<b>layer {row.layer}</b><br>{row.ratio:.3g} times the mean of shuffled topics<br>95% of "
        f"shuffles: {row.null_low:.3g} to {row.null_high:.3g}<br>"
        f"{p_text(row.family_p_value, row.permutations)} (family-wise)<br>previous token fixed: "
        f"{p_text(row.pair_family_p_value, row.permutations)}"
        for row in rows(beyond)
    ]
    null = beyond.null_low, beyond.null_high
    sure = beyond.family_p_value <= alpha
    traces = against_null(layers, beyond.ratio, null, "95% of shuffled topics", hover, sure)
    result = figure(traces, x_title="", y_title="statistic / null mean", height=320)
    result.update_yaxes(rangemode="tozero")
    baseline(result, 1.0, "mean of shuffled topics")
    return result


def bracket_figure(beyond: pd.DataFrame) -> go.Figure:
    """Topic information by layer: all of it, and what the token mix alone reproduces."""
    bars = [
        go.Bar(
            x=[f"layer {layer}" for layer in beyond.layer],
            y=values(beyond[column] / beyond.max_bits),
            error_y=_interval(beyond, column),
            name=name,
            marker={"color": colour},
            customdata=[percent(share) for share in beyond[column] / beyond.bits],
            hovertemplate=f"<b>%{{x}}</b><br>{name}: %{{y:.3p}} of log2 T<br>%{{customdata}} of "
            "the observed<extra></extra>",
        )
        for column, name, colour in (
            ("bits", "observed", ACCENT),
            ("upper_bits", "token mix, routed as everywhere", MUTED),
            ("lower_bits", "token mix, routed as in other topics", PALETTE[1]),
        )
    ]
    result = figure(bars, x_title="", y_title="", barmode="group", bargap=0.3)
    result.update_yaxes(**percent_axis("share of log2 T"))
    return result


def _interval(beyond: pd.DataFrame, column: str) -> dict[str, Any] | None:
    """Error bars of a bound; the observed has its own among the topics."""
    if column == "bits":
        return None
    share, unit = column.replace("bits", "share"), beyond.bits / beyond.max_bits
    ends = (beyond[name] * unit for name in (share, f"{share}_low", f"{share}_high"))
    return whiskers(*ends)
