"""The verdict on context: how much of the topic information is vocabulary."""

from collections.abc import Iterator

import pandas as pd

from ...html.records import largest, rows
from ...html.sentence import Sentence, by_layer, capital, layer_names
from ...html.text import number, p_text, percent
from ...results import RoutingResults
from ...statistics.permutations import MIN_DOCUMENTS_FOR_P


def context_sentences(results: RoutingResults) -> Iterator[Sentence]:
    """Whether the same tokens are routed by topic, and what the token mix reproduces."""
    frame = results.beyond
    if len(results.topics) < 2 or frame.empty:
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
    sure = frame[frame.family_p_value <= results.alpha]
    topical = results.information[results.information.family_p_value <= results.alpha]
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
        f"{capital(_details(frame, results))}. n = {frame.documents.iloc[0]:,} documents "
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


def _details(frame: pd.DataFrame, results: RoutingResults) -> str:
    return by_layer(
        [
            f"layer {row.layer}: ratio {number(row.ratio, 2)}, "
            f"{p_text(row.family_p_value, results.permutations)}, words reproduce "
            f"{percent(row.lower_share)} (as in other topics) and {percent(row.upper_share)} (as "
            "everywhere)"
            for row in rows(frame.sort_values("ratio", ascending=False))
        ]
    )
