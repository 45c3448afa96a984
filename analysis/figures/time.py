"""Time: shares of experts by period."""

import pandas as pd
import plotly.graph_objects as go

from ..records import rows
from ..text import expert_name, interval_text, p_text, percent
from .theme import PALETTE, baseline, figure, percent_axis, values, whiskers

MOST_LINES = len(PALETTE)


def period_figure(shares: pd.DataFrame, trends: pd.DataFrame, alpha: float) -> go.Figure:
    """Share of tokens by period, a line per expert, of one layer.

    Args:
        shares: `time.share_by_period` of the layer.
        trends: `time.expert_trends` of the layer; of more than 8 experts the steepest are drawn,
            and a dot in the name marks those with a p at or below alpha.
        alpha: family-wise error rate.
    """
    drawn = trends.sort_values("trend", key=abs, ascending=False).head(MOST_LINES)
    traces = []
    for index, trend in enumerate(rows(drawn.sort_values("expert"))):
        own = shares[shares.expert == trend.expert]
        name = expert_name(trend.layer, trend.expert)
        hover = [
            f"<b>{name}</b> · {row.period}<br>{percent(row.share, 3)} of tokens, "
            f"{interval_text(100 * row.low, 100 * row.high, 3)}<br>mean of the periods "
            f"{percent(row.base_share, 3)}<br>trend {trend.trend:+.2f}, "
            f"{p_text(trend.p_value, trend.permutations)}<br>n = {row.origins:,} origins, "
            f"{row.documents:,} documents"
            for row in rows(own)
        ]
        colour = PALETTE[index % len(PALETTE)]
        traces.append(
            go.Scatter(
                x=own.period.tolist(),
                y=values(own.share),
                error_y=whiskers(own.share, own.low, own.high) | {"color": colour},
                mode="lines+markers",
                line={"color": colour, "width": 2},
                marker={"size": 7},
                name=f"E{trend.expert}{' ●' if trend.p_value <= alpha else ''}",
                hovertext=hover,
                hoverinfo="text",
            )
        )
    result = figure(traces, x_title="", y_title="", height=380)
    result.update_xaxes(type="category")
    result.update_yaxes(**percent_axis("share of tokens"))
    chance = float(shares.chance.iloc[0])
    baseline(result, chance, f"chance k/E: {percent(chance)}")
    return result
