"""The verdict on topics: which layers, how much, how sure, and which experts."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from ....inference.experiments.knockout_choice import MIN_EVEN_SHARE
from ...data.design import Design
from ...html.records import largest, rows
from ...html.sentence import Sentence, by_layer, capital, layer_names
from ...html.text import (
    expert_name,
    interval_text,
    number,
    p_text,
    percent,
    percent_interval,
    visible,
)
from ...statistics.units import MIN_GROUPS_FOR_P
from .information import ABSENT, NO_BAND
from .measures import TopicsRecord as Record

LISTED_CELLS = 3


def topics_sentences(record: Record, design: Design) -> Iterator[Sentence]:
    """Which layers carry topic information, and which experts are the strongest."""
    yield from topic_sentences(record, design)
    yield from cell_sentences(record, design)


def topic_sentences(record: Record, design: Design) -> Iterator[Sentence]:
    """Which layers carry topic information, how much, how sure."""
    frame = record.information
    if len(design.topics) < 2:
        yield Sentence(
            "topic",
            "warning",
            "Topic specialisation cannot be judged: there is only one topic.",
            "Two or more topics are needed: label the corpus or set corpus.topics.derive.",
        )
    elif frame.family_p_value.isna().any():
        yield Sentence(
            "topic",
            "warning",
            "No test of topic specialisation: a topic has only "
            f"{frame.fewest_groups.iloc[0]} {unit_name(frame)}, and {MIN_GROUPS_FOR_P} are needed.",
            f"Largest estimate: {_information(largest(frame, 'bits'))}; {_basis(record, design)}.",
        )
    elif (sure := frame[frame.family_p_value <= design.alpha]).empty:
        these = f"any of the {len(frame)} MoE layers" if len(frame) > 1 else "the one MoE layer"
        top = largest(frame, "bits")
        yield Sentence(
            "topic",
            "none",
            f"No evidence that {these} routes by topic{_power(frame)}.",
            f"Largest: {_information(top)}, {_p(top.family_p_value, design)}; "
            f"{_basis(record, design)}.",
        )
    else:
        yield _topic_finding(record, design, sure)


def unit_name(frame: pd.DataFrame) -> str:
    """What was permuted: groups, or documents where no groups are known."""
    return "groups" if frame.grouped.iloc[0] else "documents"


def _power(frame: pd.DataFrame) -> str:
    """Says what a result of none leaves possible: absence, or what would have been found."""
    if frame.absent.all():
        return (
            f", and what there can be is negligible: every 95% interval lies below "
            f"{percent(ABSENT)} of the information that names the topic"
        )
    worst = frame.detectable_share.max()
    if not np.isfinite(worst):
        return ""
    return (
        f"; an effect of {percent(worst)} of the information that names the topic, in no "
        "particular direction, would have been found in about four of five such corpora"
    )


def _topic_finding(record: Record, design: Design, sure: pd.DataFrame) -> Sentence:
    """Says which layers carry topic information and how much."""
    frame = record.information
    top = largest(sure, "bits")
    where = f"{capital(layer_names(sure))} carr{'ies' if len(sure) == 1 else 'y'}"
    if len(sure) == len(frame) > 1:
        where = f"{'Both' if len(frame) == 2 else f'All {len(frame)}'} MoE layers carry"
    size = f"it is {top.band} at its strongest, in layer {top.layer}:"
    if top.band == NO_BAND:
        size = f"at its strongest, in layer {top.layer}, it is"
    if top.band == "negligible":
        size = f"it is measurable but negligible, at most (layer {top.layer})"
    bands = by_layer(
        [
            f"layer {row.layer} {percent(row.share)} ({row.band}, {_p(row.family_p_value, design)})"
            for row in rows(frame.sort_values("share", ascending=False))
        ]
    )
    return Sentence(
        "topic",
        "fact" if top.band == "negligible" else "finding",
        f"{where} topic information; {size} {percent(top.share)} of the information "
        f"that names the topic ({percent_interval(top.share_low, top.share_high)}).",
        f"Strongest: {_information(top)}. Share of log2 T by layer: {bands}. "
        f"Basis: {_basis(record, design)}. Topics also differ in their words: this number holds "
        "topic and vocabulary together.",
        layer=int(top.layer),
    )


def cell_sentences(record: Record, design: Design) -> Iterator[Sentence]:
    """Which expert is the strongest for which topic."""
    cells = record.cells
    if len(design.topics) < 2 or cells.p_value.isna().all():
        return
    marked = cells[cells.p_value <= design.alpha]
    total = f"{len(marked):,} of {len(cells):,} expert–topic pairs of all layers"
    unit = "unit: share of a topic's untouched tokens; baseline: mean of all topics"
    raised = marked[marked.log2_ratio > 0]
    raised = raised.sort_values(["family_low", "log2_ratio"], ascending=False)
    # as for knock-outs: an expert that is hardly used is named only where no other is found
    used = raised.base_share >= MIN_EVEN_SHARE * raised.chance
    raised = raised[used] if used.any() else raised
    if raised.empty:
        yield Sentence(
            "experts",
            "none",
            "No evidence that any expert is chosen more for one topic than for the others.",
            f"{total} pass the family-wise test; largest ratio: "
            f"{_cell(largest(cells, 'log2_ratio'), design)}; {unit}.",
        )
        return
    best = rows(raised.groupby(["layer", "expert"], sort=False).head(1).head(LISTED_CELLS))
    first = best[0]
    yield Sentence(
        "experts",
        "finding",
        f"{expert_name(first.layer, first.expert)} is the strongest topic expert: it takes "
        f"{percent(first.share)} of the tokens of “{visible(first.topic)}”, "
        f"{number(2**first.log2_ratio, 2)} times the mean of all topics{_at_least(first)}.",
        f"{'; '.join(_cell(row, design) for row in best)}. {total} differ from the mean of all "
        f"topics (family-wise; {_discoveries(cells, design)}); intervals hold for all pairs at "
        f"once; {unit}; an even share is {percent(first.chance)}. This is "
        "association: what the model would do without the expert is another question.",
        layer=int(first.layer),
    )


def _at_least(row: Any) -> str:
    """The lower end that allows for having picked the strongest of all."""
    return f", at least {number(2**row.family_low, 2)} times" if row.family_low > 0 else ""


def _discoveries(cells: pd.DataFrame, design: Design) -> str:
    found = int((cells.q_value <= design.alpha).sum())
    return f"{found:,} at a false discovery rate of {percent(design.alpha)}"


def _cell(row: Any, design: Design) -> str:
    return (
        f"{expert_name(row.layer, row.expert)} for “{visible(row.topic)}” {percent(row.share)} "
        f"against {percent(row.base_share)} (log2 ratio {number(row.log2_ratio, 2)}, "
        f"{interval_text(row.family_low, row.family_high)}, {_p(row.p_value, design)}, n = "
        f"{row.groups:,} groups, {row.documents:,} documents, {row.tokens:,} tokens)"
    )


def _basis(record: Record, design: Design) -> str:
    """Says n, unit and baseline of the topic information."""
    first = rows(record.information)[0]
    held = f"{first.documents:,} documents, {first.tokens:,} untouched tokens"
    if first.grouped:
        sample = f"n = {first.groups:,} groups ({held}) of {first.topics} topics; unit: the group"
    else:
        sample = (
            f"n = {first.documents:,} documents ({first.tokens:,} untouched tokens) of "
            f"{first.topics} topics, taken as independent of each other, since no groups are known"
        )
    return (
        f"{sample}; p family-wise over {len(design.layers)} layers; baseline: "
        f"{design.permutations:,} shuffles of topics over {unit_name(record.information)}; bias "
        "of few groups removed by the jackknife"
    )


def _information(row: Any) -> str:
    return (
        f"layer {row.layer}, {number(row.bits, 2)} bits "
        f"({interval_text(row.low, row.high)}), {percent(row.share)} of log2 {row.topics} = "
        f"{number(row.max_bits, 3)} bits ({row.band})"
    )


def _p(p_value: float, design: Design) -> str:
    return p_text(p_value, design.permutations)
