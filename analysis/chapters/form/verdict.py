"""The verdict on form: masked positions, load, vocabulary."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from ...html.records import largest, rows
from ...html.sentence import Sentence, Tone, by_layer, capital, layer_names
from ...html.text import expert_name, interval_text, listing, number, percent, percent_range
from ...results import RoutingResults
from .measures import largest_share

EVEN, CONCENTRATED = 0.5, 2.0  # MaxVio below: even load; above: concentrated
MASK_EXPERT = 1.0  # log2 ratio from which an expert is a [MASK] expert: twice its usual share …
MASK_REST = 0.5  # … or, for one that half the tokens choose anyway, half of its usual rest
MASK_MORE = 0.2  # … that is so much more of the tokens
VOCABULARY_EXCESS = 0.02  # below, experts hardly go by the token
LISTED_EXPERTS = 20


def masked_sentences(results: RoutingResults) -> Iterator[Sentence]:
    """What the masked positions do."""
    frame = results.masked
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
    claim = "No layer has a [MASK] expert: masked tokens go about where other tokens go."
    if not mask_experts.empty:
        claim = (
            f"Masked tokens have experts that they prefer in {layer_names(mask_experts)}: "
            f"{expert_name(top.layer, top.expert)} takes {percent(top.masked_share)} of them and "
            f"{percent(top.untouched_share)} of untouched tokens."
        )
    yield Sentence(
        "masked",
        "none" if mask_experts.empty else "finding",
        claim,
        f"{capital(details)}. n = {first.masked_tokens:,} [MASK] tokens, "
        f"{first.untouched_tokens:,} untouched tokens, {first.documents:,} documents; baseline: "
        f"untouched tokens of the same documents; an even share is {percent(first.chance)}. Masked "
        "positions enter no topic statistic.",
        layer=int(top.layer),
    )


def load_sentences(results: RoutingResults) -> Iterator[Sentence]:
    """How even the load is."""
    worst = largest(results.balance, "max_violation")
    word = "uneven"
    tone: Tone = "fact"
    if worst.max_violation < EVEN:
        word = "even"
    elif worst.max_violation > CONCENTRATED:
        word, tone = "concentrated on few experts", "warning"
    layers = by_layer(
        [
            f"layer {row.layer}: MaxVio {number(row.max_violation, 2)} "
            f"({interval_text(row.max_violation_low, row.max_violation_high)}), "
            f"{number(row.effective_experts, 2)} effective experts of {row.experts}"
            for row in rows(results.balance.sort_values("max_violation", ascending=False))
        ]
    )
    yield Sentence(
        "load",
        tone,
        f"The load is {word}: at worst, in layer {worst.layer}, the busiest expert gets "
        f"{number(1 + worst.max_violation, 2)} times an even share.",
        f"{capital(layers)}. n = {worst.tokens:,} untouched tokens of {worst.documents:,} "
        "documents; unit: MaxVio = (largest − mean) / mean load; baseline: 0 at perfect balance, "
        f"{worst.experts - 1} if one expert took all.",
        layer=int(worst.layer),
    )
    dead = rows(results.load[results.load.dead])
    if dead:
        names = ", ".join(expert_name(row.layer, row.expert) for row in dead[:LISTED_EXPERTS])
        yield Sentence(
            "load",
            "warning",
            f"{len(dead)} of {len(results.load)} experts are dead: no untouched token chose them.",
            f"{names}{' …' if len(dead) > LISTED_EXPERTS else ''}. n = {worst.documents:,} "
            f"documents; at most {percent(dead[0].use_bound)} of documents like these use such an "
            f"expert (upper 95% bound); baseline: an even share of {percent(dead[0].chance)}.",
            layer=int(dead[0].layer),
        )


def form_sentences(results: RoutingResults) -> Iterator[Sentence]:
    """Topic, token class and token identity, side by side, in the layer that is most topical."""
    frame = results.structure.forms.dropna(subset=["share"])
    topics = frame[frame.by == "topic"]
    others = [by for by in ("token class", "token") if (frame.by == by).any()]
    if topics.empty or not others or len(results.topics) < 2:
        return
    top = largest(topics, "share")
    own = frame[frame.layer == top.layer].set_index("by").share
    parts = listing([f"the {by} {percent(max(own[by], 0.0))}" for by in others])
    layers = by_layer(
        [
            f"layer {layer}: " + ", ".join(f"{row.by} {percent(row.share)}" for row in rows(part))
            for layer, part in frame.groupby("layer", sort=False)
        ]
    )
    sizes = rows(frame[frame.layer == top.layer])
    yield Sentence(
        "form",
        "fact",
        f"In layer {top.layer}, the most topical, the topic explains "
        f"{percent(max(top.share, 0.0))} of the routing's entropy, {parts}.",
        f"{capital(layers)}. n = {listing([_form_size(row) for row in sizes])}, values seen at "
        "least 10 times; unit: I(x; e) / H(e); baseline: shuffled topics of documents, and "
        "tokens routed by the layer's load, subtracted. A token holds its class, and much of its "
        f"topic: the shares do not add up.{most_of_entropy(frame, results.top_k)}",
        layer=int(top.layer),
    )


def most_of_entropy(forms: pd.DataFrame, top_k: int) -> str:
    """Says how much of the routing's entropy can be explained where a token has several experts."""
    if top_k < 2:
        return ""
    most = [largest_share(bits, top_k) for bits in forms.load_bits]
    size = percent_range(min(most), max(most))
    return f" With {top_k} experts a token, what decides them all explains {size}."


def _form_size(row: Any) -> str:
    return f"{row.tokens:,} tokens for the {row.by} ({row.values:,} values)"


def vocabulary_sentences(results: RoutingResults) -> Iterator[Sentence]:
    """How far experts go by the token itself."""
    frame = results.vocabulary.dropna(subset=["excess"])
    if frame.empty:
        return
    top = largest(frame, "excess")
    layers = by_layer(
        [
            f"layer {row.layer}: {percent(row.observed)}, chance floor {percent(row.floor)}, "
            f"excess {percent(row.excess)}"
            for row in rows(frame.sort_values("excess", ascending=False))
        ]
    )
    claim = (
        f"In layer {top.layer}, {percent(top.observed)} of the tokens of a type choose its "
        f"favourite expert; chance alone gives {percent(top.floor)}."
    )
    if top.excess < VOCABULARY_EXCESS:
        claim = "Tokens of one type keep to one expert hardly more than chance has it."
    yield Sentence(
        "vocabulary",
        "fact" if top.excess >= VOCABULARY_EXCESS else "none",
        claim,
        f"{capital(layers)}. n = {top.types:,} token types seen at least 10 times "
        f"({top.tokens:,} tokens); baseline: every type routed by its layer's load.",
        layer=int(top.layer),
    )
