"""The topic classifier by layer."""

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


def probe_figure(probe: pd.DataFrame) -> go.Figure:
    """Accuracy of the topic read off experts, tokens and both (`probe.signature_probe`)."""
    hover = [
        f"<b>{row.reader}</b><br>{percent(row.accuracy, 3)} right, "
        f"{interval_text(100 * row.low, 100 * row.high)} %"
        + (f"<br>{p_text(row.p_value, row.permutations)}" if row.reader == "experts" else "")
        + (
            f"<br>gain over tokens {number(100 * row.gain, 2)} points"
            if row.gain == row.gain
            else ""
        )
        for row in rows(probe)
    ]
    bars = go.Bar(
        x=probe.reader.tolist(),
        y=values(probe.accuracy),
        error_y=whiskers(probe.accuracy, probe.low, probe.high) | {"color": MUTED},
        width=0.5,
        marker={"color": ACCENT},
        hovertext=hover,
        hoverinfo="text",
    )
    result = figure([bars], x_title="read off", y_title="", height=320)
    result.update_yaxes(**percent_axis("topics right"), range=[0, 1])
    null = float(probe.null.iloc[0])
    baseline(result, null, f"shuffled topics {percent(null)}")
    return result
