"""The verdict on context: how much of the topic information is vocabulary."""

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from ...data.design import Design
from ...html.records import largest, rows
from ...html.sentence import Sentence, by_layer, capital, layer_names
from ...html.text import number, p_text, percent, percent_interval
from ...statistics.units import MIN_GROUPS_FOR_P
from .measures import ContextRecord as Record

TELLING = 0.8  # of all there is: a wider interval says nothing


def context_sentences(record: Record, design: Design) -> Iterator[Sentence]:
    """Whether the same tokens are routed by topic, and what the token mix reproduces."""
    frame = record.beyond
    if len(design.topics) < 2 or frame.empty:
        return
    first = rows(frame)[0]
    if first.fewest_groups < MIN_GROUPS_FOR_P:
        yield Sentence(
            "beyond vocabulary",
            "warning",
            f"No test of topic beyond vocabulary: of a topic only {first.fewest_groups} "
            f"{'groups' if first.grouped else 'documents'} are kept token by token, and "
            f"{MIN_GROUPS_FOR_P} are needed.",
            "Raise route.sample_documents.",
        )
    elif frame.family_p_value.isna().any():
        yield Sentence(
            "beyond vocabulary",
            "warning",
            "Whether topics do more than bring their words cannot be told: the topics share too "
            "few of them.",
            f"{_compared(first)}; below a fifth, the same token in another topic is too rare to "
            f"be compared. {_basis(first)}.",
        )
    else:
        yield _tested(record, frame, design)


def _tested(record: Record, frame: pd.DataFrame, design: Design) -> Sentence:
    """The sentence where the test could be made."""
    sure = frame[frame.family_p_value <= design.alpha]
    topical = record.information[record.information.family_p_value <= design.alpha]
    claim = "No evidence that any layer routes by topic beyond the tokens themselves"
    if not sure.empty:
        claim = (
            f"Beyond vocabulary: {layer_names(sure)} send{'s' if len(sure) == 1 else ''} the same "
            f"tokens to other experts when the topic is another{_collocation(sure, design)}"
        )
    return Sentence(
        "beyond vocabulary",
        "none" if sure.empty else "finding",
        f"{claim}{_reproduced(frame, topical)}.",
        f"{capital(_details(frame, design))}. {_basis(rows(frame)[0])}; unit: Welch statistic of "
        "what the token types leave of a group's choices, over its mean under "
        f"{frame.permutations.iloc[0]:,} shuffles of topics (baseline 1), p family-wise over "
        f"layers; {_compared(rows(frame)[0])}; shares: topic information of the token mix alone, "
        "types routed as in other topics and as everywhere.",
    )


def _collocation(sure: pd.DataFrame, design: Design) -> str:
    """Says whether the finding holds with the previous token fixed, too."""
    if sure.pair_family_p_value.isna().any():
        return "; whether the previous token explains it cannot be told"
    lost = sure[~(sure.pair_family_p_value <= design.alpha)]
    if lost.empty:
        return ", also after the same previous token"
    where = "" if len(lost) == len(sure) else f" in {layer_names(lost)}"
    return f"; with the previous token held fixed, too, there is no evidence of it{where}"


def _compared(first: Any) -> str:
    """How much of the text could be compared."""
    return (
        f"{percent(first.coverage)} of the tokens are of types in at least five groups, the "
        f"topics' words overlap by {percent(first.overlap)} ({percent(first.pair_coverage)} and "
        f"{percent(first.pair_overlap)} for pairs of previous and current token)"
    )


def _basis(first: Any) -> str:
    """Says n and the unit."""
    if first.grouped:
        return f"n = {first.groups:,} groups, {first.tokens:,} untouched tokens"
    held = f"{first.documents:,} documents, taken as independent"
    return f"n = {held}, {first.tokens:,} untouched tokens"


def _reproduced(frame: pd.DataFrame, topical: pd.DataFrame) -> str:
    """Says which share of the strongest layer's topic information words reproduce, where tested."""
    own = frame[frame.layer.isin(topical.layer) & frame.lower_share.notna()]
    if own.empty:
        return ""
    top = largest(own, "bits")
    low, high = sorted(_clipped(x) for x in (top.lower_share, top.upper_share))
    within = f"the topic information of layer {top.layer}"
    least = _clipped(min(top.lower_share_low, top.upper_share_low))
    most = _clipped(max(top.lower_share_high, top.upper_share_high))
    if math.isnan(least) or math.isnan(most):
        return f"; the words alone reproduce about {_range(low, high)} of {within}"
    if most - least > TELLING:
        return f"; how much of {within} the words alone reproduce cannot be told from so few groups"
    interval = f"95% intervals: {percent(least)} to {percent(most)}"
    return f"; the words alone reproduce {_range(low, high)} of {within} ({interval})"


def _clipped(share: float) -> float:
    return share if math.isnan(share) else min(max(share, 0.0), 1.0)


def _range(low: float, high: float) -> str:
    return percent(high) if percent(low) == percent(high) else f"{percent(low)} to {percent(high)}"


def _details(frame: pd.DataFrame, design: Design) -> str:
    return by_layer(
        [
            f"layer {row.layer}: ratio {number(row.ratio, 2)}, "
            f"{p_text(row.family_p_value, design.permutations)} (previous token fixed: "
            f"{p_text(row.pair_family_p_value, design.permutations)}), words reproduce "
            f"{percent(row.lower_share)} (as in other topics; "
            f"{percent_interval(row.lower_share_low, row.lower_share_high)}) and "
            f"{percent(row.upper_share)} (as everywhere; "
            f"{percent_interval(row.upper_share_low, row.upper_share_high)})"
            for row in rows(frame.sort_values("ratio", ascending=False))
        ]
    )
