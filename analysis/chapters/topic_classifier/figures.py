"""The topic classifier: shares of texts whose topic is named right."""

import pandas as pd
import plotly.graph_objects as go

from ...html.records import rows
from ...html.text import interval_text, number, p_text, percent
from ...html.theme import (
    ACCENT,
    MUTED,
    baseline,
    figure,
    percent_axis,
    values,
    whiskers,
)


def classifier_figure(accuracy: pd.DataFrame) -> go.Figure:
    """Accuracy of the topic read off experts, words and both (`measures.topic_classifier`)."""
    hover = [
        f"<b>{row.reader}</b><br>{percent(row.accuracy, 3)} right, "
        f"{interval_text(100 * row.low, 100 * row.high)} %"
        + (f"<br>{p_text(row.p_value, row.permutations)}" if row.p_value == row.p_value else "")
        + (
            f"<br>gain over words {number(100 * row.gain, 2)} points"
            if row.gain == row.gain
            else ""
        )
        for row in rows(accuracy)
    ]
    bars = go.Bar(
        x=accuracy.reader.tolist(),
        y=values(accuracy.accuracy),
        error_y=whiskers(accuracy.accuracy, accuracy.low, accuracy.high) | {"color": MUTED},
        width=0.5,
        marker={"color": ACCENT},
        hovertext=hover,
        hoverinfo="text",
    )
    result = figure([bars], x_title="read off", y_title="", height=320)
    result.update_yaxes(**percent_axis("topics right"), range=[0, 1])
    null = float(accuracy.null.iloc[0])
    baseline(result, null, f"shuffled topics {percent(null)}")
    return result
