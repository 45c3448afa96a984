"""The verdict on masked positions."""

from collections.abc import Iterator

import pandas as pd
from scipy.stats import norm

from ...data.design import Design
from ...data.token_types import NORMAL_95
from ...html.records import largest, rows
from ...html.sentence import Sentence, Tone, by_layer, capital, layer_names
from ...html.text import (
    expert_name,
    interval_text,
    number,
    percent,
)
from .measures import PositionRecord as Record

MASK_EXPERT = 1.0  # log2 ratio from which an expert is a [MASK] expert: twice its usual share …
MASK_REST = 0.5  # … or, for one that half the tokens choose anyway, half of its usual rest
MASK_MORE = 0.2  # … that is so much more of the tokens


def masked_sentences(record: Record, design: Design) -> Iterator[Sentence]:
    """What the masked positions do."""
    frame = record.masked
    if frame.empty:
        yield Sentence(
            "masked",
            "fact",
            "Nothing is masked: every token is routed as it stands in the text.",
            "All tokens are untouched text.",
        )
        return
    frame = frame.assign(more=frame.masked_share - frame.untouched_share)
    best = frame.loc[frame.groupby("layer").more.idxmax()]
    twice = best.log2_ratio >= MASK_EXPERT
    halved_rest = 1 - best.masked_share <= MASK_REST * (1 - best.untouched_share)
    clear = (best.low > 0) & (best.masked_share > best.chance)
    mask_experts = best[clear & (twice | (halved_rest & (best.more >= MASK_MORE)))]
    first = rows(best)[0]
    chosen = best if mask_experts.empty else mask_experts
    details = by_layer(
        [
            f"layer {row.layer}: {expert_name(row.layer, row.expert)} takes "
            f"{percent(row.masked_share)} of [MASK] tokens and {percent(row.untouched_share)} of "
            f"untouched ones (log2 ratio {number(row.log2_ratio, 2)}, "
            f"{interval_text(row.low, row.high)})"
            for row in rows(chosen.sort_values("more", ascending=False))
        ]
    )
    top = largest(chosen, "more")
    takes = (
        f"{expert_name(top.layer, top.expert)} takes {percent(top.masked_share)} of them and "
        f"{percent(top.untouched_share)} of untouched tokens"
    )
    tone: Tone = "none"
    claim = f"No evidence that masked tokens have experts of their own: at most, {takes}."
    if not mask_experts.empty:
        tone = "finding"
        where = layer_names(mask_experts)
        claim = f"Masked tokens have experts that they prefer in {where}: {takes}."
    elif _surely_more(frame):
        tone = "fact"
        claim = (
            f"No expert takes twice its usual share of masked tokens, but they are not routed as "
            f"others are: {takes}."
        )
    yield Sentence(
        "masked",
        tone,
        claim,
        f"{capital(details)}. n = {first.masked_tokens:,} [MASK] tokens, "
        f"{first.untouched_tokens:,} untouched tokens, {first.documents:,} documents; baseline: "
        f"untouched tokens of the same documents; an even share is {percent(first.chance)}. Masked "
        "positions enter no topic statistic.",
        layer=int(top.layer),
    )


def _surely_more(frame: pd.DataFrame) -> bool:
    """Whether an expert surely takes more of the masked tokens: Bonferroni over all experts."""
    errors = (frame.high - frame.low) / (2 * NORMAL_95)
    return bool((frame.log2_ratio > norm.isf(0.025 / len(frame)) * errors).any())
