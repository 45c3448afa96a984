"""Checkpoints: how much of the final routing each snapshot already had."""

import pandas as pd
import plotly.graph_objects as go

from ...html.records import rows
from ...html.text import interval_text, percent
from ...html.theme import DASHES, PALETTE, SECOND, baseline, figure, percent_axis, values, whiskers


def saturation_figure(saturation: pd.DataFrame) -> go.Figure:
    """Share of final choices by training step, a line per layer (`routing_saturation`)."""
    traces = []
    for index, (layer, part) in enumerate(saturation.groupby("layer")):
        colour = PALETTE[index % len(PALETTE)]
        dash = DASHES[index // len(PALETTE) % len(DASHES)]
        hover = [
            f"<b>layer {row.layer}</b>, step {row.step:,}<br>{percent(row.saturation, 3)} of the "
            f"final choices, {interval_text(100 * row.low, 100 * row.high, 3)}<br>"
            f"{percent(row.load_chance, 3)} by the final load alone"
            for row in rows(part)
        ]
        traces.append(
            go.Scatter(
                x=part.step.tolist(),
                y=values(part.saturation),
                error_y=whiskers(part.saturation, part.low, part.high) | {"color": colour},
                mode="lines+markers",
                line={"color": colour, "width": 2, "dash": dash},
                marker={"size": 8},
                name=f"layer {layer}",
                hovertext=hover,
                hoverinfo="text",
            )
        )
    load = saturation.groupby("step").load_chance.mean()
    traces.append(
        go.Scatter(
            x=load.index.tolist(),
            y=values(load),
            mode="lines",
            line={"color": SECOND, "width": 1.5, "dash": "dot"},
            name="by the final load alone (mean of layers)",
            hoverinfo="skip",
        )
    )
    result = figure(traces, x_title="training step", y_title="", height=360)
    result.update_yaxes(**percent_axis("share of the final choices"))
    chance = float(saturation.chance.iloc[0])
    baseline(result, chance, f"chance k/E: {percent(chance)}")
    return result
