"""Figures of several runs side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..html.records import rows
from ..html.text import number, p_text, percent, plot_label
from ..html.theme import against_null, baseline, figure, percent_axis, topic_style, values, whiskers

MULTIPLE_HEIGHT, MULTIPLES_PER_ROW, LEGEND_ROW = 270, 3, 22
CELL_HEIGHT, MARGINS = 56, 90


def curves_figure(curves: pd.DataFrame, runs: Sequence[str], y_title: str) -> go.Figure:
    """One curve per run over training tokens, all on one axis."""
    traces = [
        _line(own.tokens, own.value, run, position, "%{x:,} tokens")
        for position, run in enumerate(runs)
        if len(own := curves[curves.run == run].sort_values("tokens"))
    ]
    result = figure(traces, x_title="training tokens", y_title="", height=380)
    return result.update_yaxes(measure_axis(y_title))


def depth_figure(
    layers: pd.DataFrame,
    runs: Sequence[str],
    column: str,
    y_title: str,
    *,
    interval: tuple[str, str] | None = None,
    chance: tuple[float, str] | None = None,
) -> go.Figure:
    """One line per run over the layers.

    Args:
        layers: `measures.layer_measures`.
        runs: their names, in the order of the colours.
        column: what is drawn.
        y_title: its name and unit.
        interval: columns of an interval.
        chance: where a dashed line lies, and what it says.
    """
    traces = []
    for position, run in enumerate(runs):
        own = layers[(layers.run == run) & layers[column].notna()]
        if own.empty:
            continue
        trace = _line(own.layer, own[column], run, position, "layer %{x}")
        if interval:
            trace.error_y = whiskers(own[column], own[interval[0]], own[interval[1]])
        traces.append(trace)
    result = figure(traces, x_title="layer", y_title="", height=380)
    result.update_xaxes(dtick=1)
    result.update_yaxes(measure_axis(y_title))
    if chance:
        baseline(result, *chance)
    return result


def measure_axis(unit: str) -> Mapping[str, Any]:
    """Labels an axis by its unit: shares in percent, and from zero what has its baseline there."""
    if unit.startswith("share"):
        return percent_axis(unit)
    return {"title": {"text": unit}, "rangemode": "normal" if "nats" in unit else "tozero"}


def multiples_figure(
    measures: pd.DataFrame, settings: pd.DataFrame, column: str, y_title: str
) -> go.Figure:
    """A small plot per setting that differs: the measure of every run over the setting's value.

    Args:
        measures: `measures.run_measures`.
        settings: the differing settings, a column each; index = run.
        column: the measure.
        y_title: its name and unit.
    """
    across = min(len(settings.columns), MULTIPLES_PER_ROW)
    result = _multiples(measures, settings, column, y_title, across)
    narrow = _multiples(measures, settings, column, y_title, 1).layout.to_plotly_json()
    return result.update_layout(meta={"narrow": narrow})


def _multiples(
    measures: pd.DataFrame, settings: pd.DataFrame, column: str, y_title: str, across: int
) -> go.Figure:
    """Draws `multiples_figure` with so many plots in a row."""
    down = -(-len(settings.columns) // across)
    grid = make_subplots(
        down,
        across,
        shared_yaxes="all",
        horizontal_spacing=0.04,
        vertical_spacing=0.3 / down,
    )
    legend_rows = -(-len(measures) // across)
    height = MULTIPLE_HEIGHT * down + LEGEND_ROW * legend_rows
    grid.update_layout(figure([], x_title="", y_title="", height=height).layout, overwrite=False)
    grid.update_layout(legend={"y": 1, "itemclick": False, "itemdoubleclick": False})
    runs = [plot_label(run) for run in measures.run]
    looks = [topic_style(position) for position in range(len(runs))]
    markers = {
        "color": [look.colour for look in looks],
        "symbol": [look.symbol for look in looks],
        "size": 10,
        "opacity": 0.85,
        "line": {"width": [1.6 if "open" in look.symbol else 0 for look in looks]},
    }
    for run, look in zip(runs, looks, strict=True):  # for the legend alone
        key = {"color": look.colour, "symbol": look.symbol, "size": 10}
        grid.add_trace(go.Scatter(x=[None], y=[None], mode="markers", name=run, marker=key))
    for place, name in enumerate(settings.columns):
        row, col = place // across + 1, place % across + 1
        numbers, positions = _positions(settings[name].reindex(measures.run))
        trace = go.Scatter(
            x=positions,
            y=values(measures[column]),
            mode="markers",
            marker=markers,
            text=runs,
            showlegend=False,
            hovertemplate=f"%{{text}}<br>{name} %{{x}}: %{{y:.4g}}<extra></extra>",
        )
        grid.add_trace(trace, row, col)
        _label_axes(grid, row, col, name, numbers)
    axis = measure_axis(y_title)
    return grid.update_yaxes(axis, automargin=True, zeroline=False, col=1)


def _label_axes(grid: go.Figure, row: int, col: int, name: str, numbers: list[float]) -> None:
    """Titles a small plot by its setting; ticks stand where runs do, if its values are numbers."""
    grid.update_xaxes(
        title={"text": name},
        type="linear" if numbers else "category",
        automargin=True,
        zeroline=False,
        tickvals=sorted({*numbers}) or None,
        row=row,
        col=col,
    )


def explained_figure(seeds: pd.DataFrame, names: Mapping[str, str], alpha: float) -> go.Figure:
    """Share of the variance between runs that settings explain, over what shuffled settings do.

    Args:
        seeds: `seeds.settings_against_seeds`.
        names: measure → what it is.
        alpha: of the family-wise test.
    """
    hover = [
        f"<b>{names[row.measure]}</b><br>{percent(row.explained)} between settings<br>95% of "
        f"shuffled settings: {percent(row.null_low)} to {percent(row.null_high)}<br>"
        f"{p_text(row.family_p_value, row.permutations)} (family-wise)"
        for row in rows(seeds)
    ]
    labels = [names[name] for name in seeds.measure]
    null = seeds.null_low, seeds.null_high
    sure = seeds.family_p_value <= alpha
    traces = against_null(labels, seeds.explained, null, "95% of shuffled settings", hover, sure)
    result = figure(traces, x_title="", y_title="", height=320)
    return result.update_yaxes(
        **percent_axis("share of the variance between runs"), range=[0, 1.03]
    )


def similarity_figure(pairs: pd.DataFrame, runs: Sequence[str]) -> go.Figure:
    """Run × run: mean correlation of matched experts in one layer, with its null in the cell.

    Args:
        pairs: rows of `measures.similarities` of one layer.
        runs: names in the order of both axes, which number them from 1.
    """
    place = {run: position for position, run in enumerate(runs)}
    shape = len(runs), len(runs)
    cells, text = np.full(shape, np.nan), np.full(shape, "", dtype=object)
    hover = np.full(shape, "", dtype=object)
    for pair in rows(pairs):
        for row, col in (
            (place[pair.first], place[pair.second]),
            (place[pair.second], place[pair.first]),
        ):
            cells[row, col] = pair.similarity
            text[row, col] = f"{number(pair.similarity, 2)}<br>({number(pair.null_mean, 2)})"
            hover[row, col] = (
                f"{plot_label(pair.first)} and {plot_label(pair.second)}<br>"
                f"similarity {number(pair.similarity)}, shuffled {number(pair.null_mean)} "
                f"({number(pair.null_low, 2)} to {number(pair.null_high, 2)})"
            )
    numbers = [f"run {position}" for position in range(1, len(runs) + 1)]
    trace = go.Heatmap(
        x=numbers,
        y=numbers,
        z=values(cells),
        text=text.tolist(),
        texttemplate="%{text}",
        hovertext=hover.tolist(),
        hovertemplate="%{hovertext}<extra></extra>",
        hoverongaps=False,
        zmin=0,
        zmax=1,
        colorscale=[[0, "#eef4fa"], [1, "#2a78b8"]],
        showscale=False,
    )
    height = MARGINS + CELL_HEIGHT * len(runs)
    result = figure([trace], x_title="", y_title="", height=height)
    result.update_yaxes(autorange="reversed", showgrid=False)
    result.update_xaxes(type="category", showgrid=False)
    return result


def _positions(setting: pd.Series) -> tuple[list[float], list[float] | list[str]]:
    """The numbers of a setting ([] where a run has none), and where its runs stand on the axis."""
    numbers = pd.to_numeric(setting, errors="coerce")
    if numbers.notna().all() and not setting.map(lambda x: isinstance(x, bool)).any():
        return (places := [float(x) for x in numbers]), places
    return [], [plot_label(str(x), 24) for x in setting]


def _line(x: pd.Series, y: pd.Series, run: str, position: int, where: str) -> go.Scatter:
    style = topic_style(position)
    name = plot_label(run)
    return go.Scatter(
        x=[int(value) for value in x],
        y=values(y),
        name=name,
        mode="lines+markers",
        line={"color": style.colour, "dash": style.dash, "width": 2},
        marker={"size": 5},
        hovertemplate=f"{name}<br>{where}: %{{y:.4g}}<extra></extra>",
    )
