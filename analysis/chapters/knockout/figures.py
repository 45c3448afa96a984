"""Knock-out: the change of loss by expert, and beside it the association."""

import pandas as pd
import plotly.graph_objects as go

from ...html.records import rows
from ...html.text import expert_name, interval_text, number, p_text, plot_label
from ...html.theme import ACCENT, MUTED, SECOND, baseline, figure, values, whiskers

ROW_HEIGHT, FRAME_HEIGHT, LONGEST_LABEL = 34, 150, 28


def knockout_figure(effects: pd.DataFrame, permutations: int) -> go.Figure:
    """Specificity of each chosen expert, of the controls for its topic, and its topic's loss."""
    labels = [
        f"{expert_name(row.layer, row.expert)} · {plot_label(row.topic, LONGEST_LABEL)}"
        for row in rows(effects)
    ]
    hover = [
        f"<b>{label}</b><br>specificity {number(row.specificity)} nats, "
        f"{interval_text(row.specificity_low, row.specificity_high)}, "
        f"{p_text(row.specificity_p_value, permutations)}<br>{row.controls} controls "
        f"{number(row.control_specificity)}, {p_text(row.control_p_value, permutations)}<br>own "
        f"topic {number(row.effect)}, {interval_text(row.low, row.high)}, "
        f"{p_text(row.p_value, permutations)}; other topics {number(row.other_effect)}"
        for label, row in zip(labels, rows(effects), strict=True)
    ]
    controls = go.Bar(
        y=labels,
        x=values(effects.control_high - effects.control_low),
        base=values(effects.control_low),
        orientation="h",
        width=0.5,
        marker={"color": MUTED, "opacity": 0.4},
        name="specificity of 95% of the controls",
        hoverinfo="skip",
    )
    own = go.Scatter(
        y=labels,
        x=values(effects.effect),
        mode="markers",
        marker={"color": SECOND, "symbol": "diamond-open", "size": 9},
        name="loss of its own topic",
        hoverinfo="skip",
    )
    specificity = go.Scatter(
        y=labels,
        x=values(effects.specificity),
        error_x=whiskers(effects.specificity, effects.specificity_low, effects.specificity_high)
        | {"color": ACCENT},
        mode="markers",
        marker={"color": ACCENT, "size": 10},
        name="specificity",
        hovertext=hover,
        hoverinfo="text",
    )
    height = FRAME_HEIGHT + ROW_HEIGHT * len(labels)
    result = figure(
        [controls, own, specificity], x_title="change of loss, nats", y_title="", height=height
    )
    result.update_xaxes(zeroline=True)
    result.update_yaxes(autorange="reversed", showgrid=False)
    return result


def association_figure(effects: pd.DataFrame) -> go.Figure:
    """Association (log2 ratio) against specificity of the knock-out, a point per expert."""
    points = go.Scatter(
        x=values(effects.log2_ratio),
        y=values(effects.specificity),
        error_y=whiskers(effects.specificity, effects.specificity_low, effects.specificity_high)
        | {"color": MUTED},
        mode="markers",
        marker={"color": ACCENT, "size": 10},
        hovertext=[
            f"<b>{expert_name(row.layer, row.expert)}</b> · {plot_label(row.topic)}<br>log2 ratio "
            f"{number(row.log2_ratio)}<br>specificity {number(row.specificity)} nats"
            for row in rows(effects)
        ],
        hoverinfo="text",
    )
    result = figure(
        [points], x_title="log2 ratio of the topic's share", y_title="specificity, nats"
    )
    baseline(result, 0.0, "no more than other topics")
    return result
