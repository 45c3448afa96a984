"""The verdict on knock-outs: whether a topic needs the expert it prefers."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from ...data.design import Design
from ...html.records import largest, rows
from ...html.sentence import Sentence
from ...html.text import expert_name, interval_text, listing, number, p_text, percent, visible
from ...statistics.permutations import MIN_DOCUMENTS_FOR_P
from .measures import KnockoutRecord as Record

LISTED = 4
ENOUGH_CONTROLS = 20  # for a 95% range; below, theirs is from the smallest to the largest


def knockout_sentences(record: Record, design: Design) -> Iterator[Sentence]:
    """What taking away the strongest experts does."""
    frame = record.knockout
    if frame.empty:
        return
    if frame.specificity_p_value.isna().any():
        yield Sentence(
            "knock-out",
            "warning",
            "No test of knock-outs: the loss of a topic was measured on only "
            f"{int(frame.documents.min())} documents, and {MIN_DOCUMENTS_FOR_P} are needed.",
            "Raise route.knockout_documents.",
        )
        return
    specific = frame[frame.specificity_p_value <= design.alpha]
    felt = frame[frame.p_value <= design.alpha]
    top = largest(frame if specific.empty else specific, "specificity")
    listed = frame.sort_values("specificity", ascending=False).head(LISTED)
    beyond = top.effect > top.control_high
    yield Sentence(
        "knock-out",
        "none" if specific.empty else "finding" if beyond and _ranged(top) else "fact",
        _claim(specific, felt, top, len(frame)),
        f"{'; '.join(_pair(row, design) for row in rows(listed))}. n = {top.documents} documents "
        f"per topic; unit: nats per predicted token; baseline: {top.controls} control experts "
        f"({load_range(top)}), and the other topics; p one-sided, family-wise over the pairs.",
    )


def _claim(specific: pd.DataFrame, felt: pd.DataFrame, top: Any, pairs: int) -> str:
    name, topic = expert_name(top.layer, top.expert), visible(top.topic)
    if not specific.empty:
        return (
            f"Taking away {name} harms “{topic}” more than other topics: its loss rises by "
            f"{number(top.effect, 2)} nats per predicted token, theirs by "
            f"{number(top.other_effect, 2)}; {_against_controls(top)}"
            + (f"; {len(specific)} of {pairs} pairs are like this." if len(specific) > 1 else ".")
        )
    if felt.empty:
        return "No evidence that any topic needs the expert it prefers."
    names = [expert_name(row.layer, row.expert) for row in rows(felt.head(LISTED))]
    return (
        "No evidence that losing its preferred expert harms a topic more than others: losing "
        f"{listing(list(dict.fromkeys(names)))} harms all alike."
    )


def _against_controls(row: Any) -> str:
    """Specific is not yet special: another expert may cost the topic as much."""
    place = "above" if row.effect > row.control_high else "within"
    low, high = number(row.control_low, 2), number(row.control_high, 2)
    size = "95% range" if _ranged(row) else "range"
    return f"that is {place} the {size} of {row.controls} control experts ({low} to {high})"


def _ranged(row: Any) -> bool:
    return bool(row.controls >= ENOUGH_CONTROLS)


def load_range(row: Any) -> str:
    """The loads that controls are drawn from: few experts have the load of the chosen one."""
    low, high = percent(row.control_load_low), percent(row.control_load_high)
    name = expert_name(row.layer, row.expert)
    return f"loads of {low} to {high}, that of {name} {percent(row.load)}"


def _pair(row: Any, design: Design) -> str:
    return (
        f"{expert_name(row.layer, row.expert)} for “{visible(row.topic)}”: "
        f"{number(row.effect, 2)} ({interval_text(row.low, row.high)}, "
        f"{p_text(row.p_value, design.permutations)}), others {number(row.other_effect, 2)}, "
        f"controls {number(row.control_effect, 2)}, specificity {number(row.specificity, 2)} "
        f"({p_text(row.specificity_p_value, design.permutations)})"
    )
