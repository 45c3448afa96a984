"""The verdict on knock-outs: what the model loses without an expert."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from ...data.design import Design
from ...html.records import largest, rows
from ...html.sentence import Sentence
from ...html.text import expert_name, interval_text, listing, number, p_text, percent, visible
from ...statistics.units import MIN_GROUPS_FOR_P
from .measures import ENOUGH_CONTROLS
from .measures import KnockoutRecord as Record

LISTED = 4


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
            f"{int(frame.fewest_groups.min())} groups, and {MIN_GROUPS_FOR_P} are needed.",
            "Raise route.knockout_documents. Documents of one group count once.",
        )
        return
    specific = frame[frame.specificity_p_value <= design.alpha]
    special = specific[specific.control_p_value <= design.alpha]
    shown = next((part for part in (special, specific) if not part.empty), frame)
    top = largest(shown, "specificity")
    listed = frame.sort_values("specificity", ascending=False).head(LISTED)
    yield Sentence(
        "knock-out",
        "none" if specific.empty else "fact" if special.empty else "finding",
        _claim(frame, specific, special, top, design),
        f"{'; '.join(_pair(row, design) for row in rows(listed))}. n = {top.groups} groups and "
        f"{top.documents} documents per topic; unit: nats per predicted token; specificity: its "
        "own topic's loss less the mean of the others; baseline: the specificity of "
        f"{top.controls} control experts for the same topic ({load_range(top)}); p one-sided, "
        "family-wise over the pairs.",
        layer=int(top.layer),
    )


def _claim(
    frame: pd.DataFrame, specific: pd.DataFrame, special: pd.DataFrame, top: Any, design: Design
) -> str:
    if specific.empty:
        return _nothing_specific(frame[frame.p_value <= design.alpha])
    name, topic = expert_name(top.layer, top.expert), visible(top.topic)
    claim = (
        f"Taking away {name} harms “{topic}” more than other topics: its loss rises by "
        f"{number(top.effect, 2)} nats per predicted token, theirs by {number(top.other_effect, 2)}"
    )
    if not special.empty:
        more = f"; {len(special)} of {len(frame)} pairs are like this" if len(special) > 1 else ""
        return f"{claim}; with control experts topics differ less{more}."
    if top.control_smallest_p > design.alpha:
        return (
            f"{claim}; whether that is unusual cannot be told from {top.controls} control experts "
            f"(their p cannot fall below {number(top.control_smallest_p, 2)})."
        )
    return f"{claim}; no evidence that it does so more than control experts do."


def _nothing_specific(felt: pd.DataFrame) -> str:
    if felt.empty:
        return "No evidence that any topic needs the expert it prefers."
    names = dict.fromkeys(expert_name(row.layer, row.expert) for row in rows(felt.head(LISTED)))
    return (
        "No evidence that losing its preferred expert harms a topic more than others; losing "
        f"{listing(list(names))} harms the topic that prefers it."
    )


def load_range(row: Any) -> str:
    """The loads that controls are drawn from: few experts have the load of the chosen one."""
    low, high = percent(row.control_load_low), percent(row.control_load_high)
    name = expert_name(row.layer, row.expert)
    return f"loads of {low} to {high}, that of {name} {percent(row.load)}"


def control_span(row: Any) -> str:
    """Names the range of the controls' specificities; of few controls it is no 95% range."""
    span = f"{number(row.control_low, 2)} to {number(row.control_high, 2)}"
    return f"{'95% of' if row.controls >= ENOUGH_CONTROLS else ''} controls {span}".strip()


def _pair(row: Any, design: Design) -> str:
    return (
        f"{expert_name(row.layer, row.expert)} for “{visible(row.topic)}”: "
        f"{number(row.effect, 2)} ({interval_text(row.low, row.high)}, "
        f"{p_text(row.p_value, design.permutations)}), others {number(row.other_effect, 2)}; "
        f"specificity {number(row.specificity, 2)} "
        f"({interval_text(row.specificity_low, row.specificity_high)}, "
        f"{p_text(row.specificity_p_value, design.permutations)}), {control_span(row)} "
        f"({p_text(row.control_p_value, design.permutations)})"
    )
