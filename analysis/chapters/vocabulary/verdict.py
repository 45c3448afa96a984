"""The verdict on vocabulary: how far experts go by the token itself."""

from collections.abc import Iterator

from ...data.design import Design
from ...html.records import largest, rows
from ...html.sentence import Sentence, by_layer, capital
from ...html.text import (
    percent,
)
from .measures import VocabularyRecord as Record

VOCABULARY_EXCESS = 0.02  # below, experts hardly go by the token


def vocabulary_sentences(record: Record, design: Design) -> Iterator[Sentence]:
    """How far experts go by the token itself."""
    frame = record.vocabulary.dropna(subset=["excess"])
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
