"""Training curves."""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from ...html.text import number, plot_label
from ...html.theme import (
    ACCENT,
    MUTED,
    PALETTE,
    baseline,
    figure,
    percent_axis,
    topic_style,
    values,
)

SPLITS = {"train": (MUTED, "lines"), "validation": (ACCENT, "lines+markers")}


def loss_figure(curves: pd.DataFrame, unigram_entropy: float | None) -> go.Figure:
    """Language-model loss by step, training and validation, with the unigram entropy."""
    own = curves[curves.metric == "loss"]
    traces = [
        _curve(part, str(split), SPLITS[str(split)][0], mode=SPLITS[str(split)][1])
        for split, part in own.groupby("split", sort=False)
    ]
    result = figure(traces, x_title="step", y_title="nats per predicted token")
    if unigram_entropy is not None:
        baseline(result, unigram_entropy, f"token frequencies: {number(unigram_entropy)} nats")
    return result


def balance_loss_figure(curves: pd.DataFrame) -> go.Figure:
    """Balance losses by step, unweighted, a line per loss (training)."""
    own = curves[curves.metric.str.startswith("balance/") & (curves.split == "train")]
    traces = [
        _curve(part, str(metric).removeprefix("balance/"), PALETTE[index % len(PALETTE)])
        for index, (metric, part) in enumerate(own.groupby("metric", sort=False))
    ]
    return figure(traces, x_title="step", y_title="balance loss", height=280)


def topic_loss_figure(losses: pd.DataFrame, topics: Sequence[str]) -> go.Figure:
    """Validation loss by step, a line per topic."""
    traces = []
    for index, topic in enumerate(topics):
        own = losses[losses.topic == topic].rename(columns={"loss": "value"})
        style = topic_style(index)
        trace = _curve(own, plot_label(topic), style.colour, mode="lines+markers")
        trace.line.dash = style.dash
        trace.meta = {"topic": index}
        traces.append(trace)
    return figure(traces, x_title="step", y_title="nats per predicted token", height=380)


def layer_curve_figure(
    points: pd.DataFrame,
    title: str,
    level: tuple[float, str] | None = None,
    *,
    in_percent: bool = False,
) -> go.Figure:
    """One quantity of the layers by step, a line per layer.

    Args:
        points: `step, layer, value` of one split.
        title: of the axis.
        level: height and name of a baseline that is not 0.
        in_percent: whether the quantity is a share.
    """
    traces = [
        _curve(part, f"layer {layer}", PALETTE[index % len(PALETTE)], mode="lines+markers")
        for index, (layer, part) in enumerate(points.groupby("layer"))
    ]
    result = figure(traces, x_title="step", y_title=title, height=280)
    result.update_yaxes(rangemode="tozero")
    if in_percent:
        result.update_yaxes(**percent_axis(title))
    if level is not None:
        baseline(result, *level)
    return result


def _curve(points: pd.DataFrame, name: str, colour: str, mode: str = "lines") -> go.Scatter:
    return go.Scatter(
        x=points.step.tolist(),
        y=values(points.value),
        name=name,
        mode=mode,
        line={"color": colour, "width": 2},
        marker={"size": 6},
        hovertemplate=f"{name}<br>step %{{x:,}}: %{{y:.4g}}<extra></extra>",
    )
