"""Topics: which topics an expert is chosen for more, or less, than for the others."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ..records import rows
from ..text import interval_text, p_text, percent, plot_label
from .theme import DIVERGING, expert_labels, figure, values

ROW_HEIGHT, FRAME_HEIGHT = 30, 130
LONGEST_LABEL = 28
MARK = "●"


def topic_heatmap(
    cells: pd.DataFrame,
    topics: Sequence[str],
    *,
    limit: float,
    alpha: float,
    permutations: int,
) -> go.Figure:
    """log2 ratio of a topic's share to the mean of all topics, one layer.

    Args:
        cells: rows of `topics.topic_expert_cells` of one layer.
        topics: all topics; row i belongs to topic i.
        limit: end of the colour scale (log2), one for all layers.
        alpha: a dot marks cells with a family-wise p at or below it.
        permutations: behind the p-values.
    """
    experts = sorted(set(cells.expert))
    table = cells.set_index(["topic", "expert"]).loc[pd.MultiIndex.from_product([topics, experts])]
    shape = len(topics), len(experts)
    marks = np.where(table.p_value.to_numpy() <= alpha, MARK, "").reshape(shape)
    hover = [_cell_text(row, permutations) for row in rows(table)]
    sizes = table.groupby(level="topic", sort=False)[["documents", "tokens"]].first()
    size_text = [f"n = {row.documents:,} documents, {row.tokens:,} tokens" for row in rows(sizes)]
    labels = [plot_label(topic, LONGEST_LABEL) for topic in topics]
    heatmap = go.Heatmap(
        x=expert_labels(experts),
        y=labels,
        z=values(table.log2_ratio.to_numpy().reshape(shape)),
        text=marks.tolist(),
        texttemplate="%{text}",
        hovertext=np.array(hover, dtype=np.object_).reshape(shape).tolist(),
        customdata=[[text] * len(experts) for text in size_text],
        hovertemplate=f"<b>L{table.layer.iloc[0]}·%{{x}}</b> · %{{y}}<br>log2 ratio %{{z:.2f}}, "
        "%{hovertext} (family-wise)<br>%{customdata}<extra></extra>",
        coloraxis="coloraxis",
        xgap=2,
        ygap=2,
        meta={"topic_rows": list(range(len(topics)))},
    )
    result = figure(
        [heatmap],
        x_title="expert (local to its layer)",
        y_title="",
        height=FRAME_HEIGHT + ROW_HEIGHT * len(topics),
    )
    result.update_layout(
        coloraxis={
            "cmin": -limit,
            "cmax": limit,
            "colorscale": DIVERGING,
            "colorbar": {"title": {"text": "log2 ratio"}, "thickness": 12, "outlinewidth": 0},
        },
        meta={"diverging": True},
    )
    result.update_xaxes(showgrid=False)
    result.update_yaxes(autorange="reversed", showgrid=False)
    return result


def _cell_text(row: Any, permutations: int) -> str:
    return (
        f"{interval_text(row.low, row.high)}<br>{percent(row.share, 3)} of the topic's tokens, "
        f"mean of topics {percent(row.base_share, 3)}<br>{p_text(row.p_value, permutations)}"
    )
