"""The verdict on form: masked positions, load, vocabulary."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from ...data.design import Design
from ...html.records import largest, rows
from ...html.sentence import Sentence, by_layer, capital
from ...html.text import listing, percent, percent_range
from .measures import FormRecord as Record
from .measures import largest_share

EVEN, CONCENTRATED = 0.5, 2.0  # MaxVio below: even load; above: concentrated


def form_sentences(record: Record, design: Design) -> Iterator[Sentence]:
    """Topic, token class and token identity, side by side, in the layer that is most topical."""
    frame = record.forms.dropna(subset=["share"])
    topics = frame[frame.by == "topic"]
    others = [by for by in ("token class", "token") if (frame.by == by).any()]
    if topics.empty or not others or len(design.topics) < 2:
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
        f"topic: the shares do not add up.{most_of_entropy(frame, design.top_k)}",
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
