"""The verdict on context: how much of the topic information is vocabulary."""

from collections.abc import Iterator

import pandas as pd

from ...data.design import Design
from ...html.records import largest, rows
from ...html.sentence import Sentence, by_layer, capital, layer_names
from ...html.text import number, p_text, percent
from ...statistics.permutations import MIN_DOCUMENTS_FOR_P
from .measures import ContextRecord as Record


def context_and_group_sentences(record: Record, design: Design) -> Iterator[Sentence]:
    """What the topic adds to the words, and whether topics or groups are told apart."""
    yield from context_sentences(record, design)
    yield from origin_sentences(record, design)


def context_sentences(record: Record, design: Design) -> Iterator[Sentence]:
    """Whether the same tokens are routed by topic, and what the token mix reproduces."""
    frame = record.beyond
    if len(design.topics) < 2 or frame.empty:
        return
    if frame.family_p_value.isna().any():
        yield Sentence(
            "beyond vocabulary",
            "warning",
            "No test of topic beyond vocabulary: of a topic only "
            f"{frame.fewest_documents.iloc[0]} documents are kept token by token, and "
            f"{MIN_DOCUMENTS_FOR_P} are needed.",
            "Raise route.sample_documents.",
        )
        return
    sure = frame[frame.family_p_value <= design.alpha]
    topical = record.information[record.information.family_p_value <= design.alpha]
    claim = "No evidence that any layer routes by topic beyond the tokens themselves"
    if not sure.empty:
        claim = (
            f"Beyond vocabulary: {layer_names(sure)} send{'s' if len(sure) == 1 else ''} the same "
            "tokens to other experts when the topic is another"
        )
    yield Sentence(
        "beyond vocabulary",
        "none" if sure.empty else "finding",
        f"{claim}{_reproduced(frame, topical)}.",
        f"{capital(_details(frame, design))}. n = {frame.documents.iloc[0]:,} documents "
        f"({frame.tokens.iloc[0]:,} untouched tokens); unit: residual statistic over its mean "
        f"under {frame.permutations.iloc[0]:,} shuffles of topics over documents (baseline 1), p "
        "family-wise over layers; shares: topic information of the token mix alone, types routed "
        "as in other topics and as everywhere.",
    )


def _reproduced(frame: pd.DataFrame, topical: pd.DataFrame) -> str:
    """Says which share of the strongest layer's topic information words reproduce, where tested."""
    own = frame[frame.layer.isin(topical.layer) & frame.lower_share.notna()]
    if own.empty:
        return ""
    top = largest(own, "bits")
    low, high = sorted(min(max(x, 0.0), 1.0) for x in (top.lower_share, top.upper_share))
    shares = (
        percent(high) if percent(low) == percent(high) else f"{percent(low)} to {percent(high)}"
    )
    return f"; the words alone reproduce {shares} of the topic information of layer {top.layer}"


def _details(frame: pd.DataFrame, design: Design) -> str:
    return by_layer(
        [
            f"layer {row.layer}: ratio {number(row.ratio, 2)}, "
            f"{p_text(row.family_p_value, design.permutations)}, words reproduce "
            f"{percent(row.lower_share)} (as in other topics) and {percent(row.upper_share)} (as "
            "everywhere)"
            for row in rows(frame.sort_values("ratio", ascending=False))
        ]
    )


def origin_sentences(record: Record, design: Design) -> Iterator[Sentence]:
    """Whether what was found of topics holds when whole origins swap them; else nothing."""
    frame, found = record.origins, record.information
    found = found[found.family_p_value <= design.alpha]
    if frame.empty or found.empty:
        return
    own = frame[frame.layer.isin(found.layer)]
    top = largest(own, "bits")
    evidence = (
        f"Layer {top.layer}: {percent(top.share)} of log2 T above this baseline, "
        f"{p_text(top.family_p_value, top.permutations)} (family-wise over layers). n = "
        f"{top.origins:,} origins, at least {top.fewest_origins} in a topic; unit: topic "
        f"information; baseline: {top.permutations:,} shuffles of topics over whole origins."
    )
    lost = own[~(own.family_p_value <= design.alpha)]
    if own.family_p_value.isna().any():
        claim = (
            "Topic and source cannot be told apart: too few origins (files, authors, addresses) "
            "to shuffle topics over."
        )
    elif lost.empty:
        claim = (
            "The topic information holds when whole origins, not documents, swap topics"
            f"{_beyond(record, design)}."
        )
    else:
        claim = (
            f"In {layer_names(lost)} it may be sources rather than topics: when whole origins, not "
            "documents, swap topics, there is no evidence."
        )
    yield Sentence("origins", "fact" if lost.empty else "warning", claim, evidence)


def _beyond(record: Record, design: Design) -> str:
    """Says whether what goes beyond vocabulary holds, too, where it was found."""
    frame = record.beyond
    found = frame[frame.family_p_value <= design.alpha]
    if found.empty:
        return ""
    lost = found[~(found.origin_family_p_value <= design.alpha)]
    if lost.empty:
        return ", and so does what goes beyond vocabulary"
    return f"; what goes beyond vocabulary in {layer_names(lost)} does not"
