"""Confidence of the router by topic."""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from ...html.text import number, plot_label
from ...html.theme import ACCENT, SECOND, figure, percent_axis, values

LONGEST_LABEL = 28


def confidence_figure(confidence: pd.DataFrame, topics: Sequence[str]) -> go.Figure:
    """Mass of the chosen experts and margin by topic, one layer (`measures.confidence`)."""
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
