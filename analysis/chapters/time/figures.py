"""Time: shares of experts by period, and perplexity by chosen and own value."""

import pandas as pd
import plotly.graph_objects as go

from ...html.records import rows
from ...html.text import expert_name, interval_text, number, p_text, percent, plot_label
from ...html.theme import DIVERGING, PALETTE, baseline, figure, percent_axis, values, whiskers

MOST_LINES = len(PALETTE)


def period_figure(shares: pd.DataFrame, trends: pd.DataFrame, alpha: float) -> go.Figure:
    """Share of tokens by period, a line per expert, of one layer.

    Args:
        shares: `measures.share_by_period` of the layer.
        trends: `measures.expert_trends` of the layer; of more than 8, the steepest are drawn,
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
            f"{p_text(trend.p_value, trend.permutations)}<br>n = {row.blocks:,} blocks, "
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


def condition_figure(losses: pd.DataFrame) -> go.Figure:
    """Perplexity by chosen value (rows) and texts' own value, coloured by the change of loss.

    Args:
        losses: `conditions.condition_losses`.
    """
    own, chosen = list(dict.fromkeys(losses.own)), list(dict.fromkeys(losses.chosen))
    cells = losses.set_index(["chosen", "own"])
    by_row = [[cells.loc[(row, column)] for column in own] for row in chosen]
    limit = max(0.05, float(losses.change.abs().max()))
    heatmap = go.Heatmap(
        x=[plot_label(name) for name in own],
        y=[plot_label(name) for name in chosen],
        z=[values([cell.change for cell in row]) for row in by_row],
        text=[[number(cell.perplexity) for cell in row] for row in by_row],
        texttemplate="%{text}",
        hovertext=[
            [
                f"perplexity {number(cell.perplexity, 4)}, {interval_text(cell.low, cell.high, 4)}"
                f"<br>loss {cell.change:+.3f} nats against the own value, "
                f"{interval_text(cell.change_low, cell.change_high)}<br>n = {cell.blocks:,} "
                f"blocks, {cell.documents:,} documents, {cell.labels:,} tokens"
                for cell in row
            ]
            for row in by_row
        ],
        hovertemplate="told <b>%{y}</b>, texts of <b>%{x}</b><br>%{hovertext}<extra></extra>",
        coloraxis="coloraxis",
        xgap=2,
        ygap=2,
    )
    height = 170 + 34 * len(chosen)
    result = figure([heatmap], x_title="texts of", y_title="router told", height=height)
    result.update_layout(
        coloraxis={
            "cmin": -limit,
            "cmax": limit,
            "colorscale": DIVERGING,
            "colorbar": {"title": {"text": "nats"}, "thickness": 12, "outlinewidth": 0},
        },
        meta={"diverging": True},
    )
    result.update_xaxes(type="category", showgrid=False)
    result.update_yaxes(type="category", autorange="reversed", showgrid=False)
    return result
