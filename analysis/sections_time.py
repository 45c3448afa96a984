"""The chapter on time: experts through the years, where documents carry dates."""

from .figures.time import period_figure
from .page import Panel, Section
from .records import rows
from .results import RoutingResults
from .text import p_text, percent


def time_sections(results: RoutingResults) -> list[Section]:
    """E15: none where documents carry no dates."""
    time = results.structure.time
    if time is None:
        return []
    return [
        Section(
            "time",
            "Time",
            f"Documents from {time.periods[0]} to {time.periods[-1]}: do experts come and go with "
            "the years? Topics may come and go with them; this chapter does not tell the two "
            "apart.",
            [_share_panel(results)],
        )
    ]


def _share_panel(results: RoutingResults) -> Panel:
    time = results.structure.time
    assert time is not None
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
        f"n = {int(documents):,} documents of {trends.origins.iloc[0]:,} dated origins. Unit: "
        "share of the period's untouched tokens, 95% bootstrap interval over origins (from three). "
        f"Baseline: k/E, and {trends.permutations.iloc[0]:,} shuffles of dates over origins, p "
        f"family-wise; information about the period, minus its null mean: {told}.",
        {
            str(layer): period_figure(part, trends[trends.layer == layer], results.alpha)
            for layer, part in time.shares.groupby("layer", sort=False)
        },
        table,
        shown=trends.sort_values("trend", key=abs, ascending=False),
    )
