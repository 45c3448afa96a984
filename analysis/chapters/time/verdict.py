"""The verdict on time: whether experts come and go with the years."""

from collections.abc import Iterator

import pandas as pd

from ...data.design import Design
from ...html.records import largest, rows
from ...html.sentence import Sentence, by_layer, capital, layer_names
from ...html.text import expert_name, p_text, percent
from ...statistics.units import MIN_GROUPS_FOR_P
from .measures import TimeRecord as Record
from .measures import TimeResults


def time_sentences(record: Record, design: Design) -> Iterator[Sentence]:
    """Whether routing goes with the date, and which expert changes most; nothing without dates."""
    time = record.time
    if time is None:
        return
    information, span = time.information, f"{time.periods[0]} to {time.periods[-1]}"
    blocks, unit = int(information.blocks.iloc[0]), record.unit
    if information.family_p_value.isna().any():
        yield Sentence(
            "time",
            "warning",
            f"No test of time: only {blocks} dated {unit}, or all of one period; "
            f"{MIN_GROUPS_FOR_P} of more than one are needed.",
            "What documents of one block have in common counts once (report.time_blocks).",
        )
        return
    half = design.alpha / 2  # two tests ask after time: information and trends
    sure = information[information.family_p_value <= half]
    steepest = _steepest(time, half)
    claim = f"No evidence that the routing of any layer changes with time ({span})"
    if steepest:
        claim = f"The use of experts follows the years ({span})"
    if not sure.empty:
        claim = f"With time ({span}) the routing of {layer_names(sure)} changes"
    details = by_layer(
        [
            f"layer {row.layer}: {percent(row.share)}, "
            f"{p_text(row.family_p_value, row.permutations)}"
            for row in rows(information.sort_values("share", ascending=False))
        ]
    )
    yield Sentence(
        "time",
        "none" if sure.empty and not steepest else "finding",
        f"{claim}{steepest}.",
        f"{capital(details)}. n = {blocks:,} dated {unit}; unit: information about the period, "
        f"minus its null mean, as a share of log2 {information.periods.iloc[0]} periods; "
        f"baseline: {information.permutations.iloc[0]:,} shuffles of dates over {unit}, p "
        "family-wise over layers (trends: over all experts), each at half the level. Topics that "
        "come and go are not told apart from time.",
    )


def _steepest(time: TimeResults, alpha: float) -> str:
    """Names the expert with the surest trend, where there is one."""
    trends: pd.DataFrame = time.trends[time.trends.p_value <= alpha]
    if trends.empty:
        return ""
    top = largest(trends.assign(size=trends.trend.abs()), "size")
    own = time.shares[(time.shares.layer == top.layer) & (time.shares.expert == top.expert)]
    first, last = rows(own)[0], rows(own)[-1]
    verb = "gains" if top.trend > 0 else "loses"
    return (
        f"; {expert_name(top.layer, top.expert)} {verb} most steadily, from {percent(first.share)} "
        f"of the tokens of {first.period} to {percent(last.share)} of those of {last.period} "
        f"({p_text(top.p_value, top.permutations)})"
    )
