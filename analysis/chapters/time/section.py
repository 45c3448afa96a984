"""The chapter on time: experts through the years, and routers that are told the year."""

import pandas as pd

from ...data.design import Design
from ...html.page import ALL_LAYERS, OVER_TIME, Panel, Section
from ...html.records import rows
from ...html.text import p_text, percent
from .figures import condition_figure, period_figure
from .measures import TimeRecord as Record
from .measures import TimeResults


def time_section(record: Record, design: Design) -> Section:
    """E15: experts by period of dated documents, losses by what a masked router is told."""
    time, told = record.time, record.conditions
    panels = [] if time is None else [_share_panel(record.unit, time, design)]
    if not told.empty:
        panels.append(_condition_panel(told, record.unit))
    if time is None:
        title, lead = (
            "Told another value",
            "Each text was run once per value that the router knows.",
        )
    else:
        title = "Time"
        lead = (
            f"Documents from {time.periods[0]} to {time.periods[-1]}: do experts come and go with "
            "the years? Topics may come and go with them; this chapter does not tell the two apart."
        )
    return Section("time", title, lead, panels, group=OVER_TIME)


def _condition_panel(told: pd.DataFrame, unit: str) -> Panel:
    once = told.drop_duplicates("own")
    return Panel(
        "time-perplexity",
        "Perplexity by what the router is told",
        "A column that reddens away from its own row is a period (or other value) whose texts need "
        "its experts; in a column of one colour no such need shows.",
        f"n = {int(once.documents.sum()):,} documents of {int(once.blocks.sum()):,} {unit}, "
        f"{int(once.labels.sum()):,} predicted tokens, all MoE layers together. Unit: perplexity "
        "(number), change of the mean loss in nats per token (colour), 95% bootstrap interval over "
        f"{unit} on hover. Baseline: the same texts under their own value, paired.",
        {ALL_LAYERS: condition_figure(told)},
        told,
    )


def _share_panel(unit: str, time: TimeResults, design: Design) -> Panel:
    information, trends = time.information, time.trends
    told = "; ".join(
        f"layer {row.layer} {percent(row.share)} of log2 of the number of periods, "
        f"{p_text(row.family_p_value, row.permutations)}"
        for row in rows(information)
    )
    table = time.shares.merge(trends, on=["layer", "expert"], suffixes=("", "_all"))
    documents = time.shares.drop_duplicates("period").documents.sum()
    return Panel(
        "time",
        "Experts by period",
        "A line that leaves its level is an expert of some years; a dot in its name marks a trend "
        "that shuffled dates do not reach anywhere.",
        f"n = {int(documents):,} documents of {trends.blocks.iloc[0]:,} dated {unit}. Unit: share "
        f"of the period's untouched tokens, 95% bootstrap interval over {unit} (from three). "
        f"Baseline: k/E, and {trends.permutations.iloc[0]:,} shuffles of dates over {unit}, p "
        "family-wise; periods without documents are left out. Information about the period, "
        f"minus its null mean: {told}.",
        {
            str(layer): period_figure(part, trends[trends.layer == layer], design.alpha)
            for layer, part in time.shares.groupby("layer", sort=False)
        },
        table,
        shown=trends.sort_values("trend", key=abs, ascending=False),
        subject="time",
    )
