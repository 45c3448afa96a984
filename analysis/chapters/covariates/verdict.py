"""The verdict on covariates: whether something else explains as much as the topic."""

from collections.abc import Iterator

import pandas as pd

from ...data.design import Design
from ...html.records import largest, rows
from ...html.sentence import Sentence, capital
from ...html.text import listing, p_text, percent
from ...statistics.units import MIN_GROUPS_FOR_P
from .measures import CovariatesRecord as Record
from .measures import WithinStrata
from .section import derived_text

AS_MUCH = 0.8  # of the topic's share: estimates so near are not told apart


def covariate_sentences(record: Record, design: Design) -> Iterator[Sentence]:
    """Which covariates explain as much as the topic, and the topic within their strata."""
    if record.derived:
        yield Sentence(
            "covariates", "warning", derived_text(record.derived), "corpus.topics.derive."
        )
    yield from _compared(record.explained)
    if record.within is not None:
        yield from _within(record.within, design)


def _compared(frame: pd.DataFrame) -> Iterator[Sentence]:
    """In the most topical layer: what explains about as much as the topic does, or more."""
    if "null_high" not in frame:
        return
    topics = frame[frame.by == "topic"].dropna(subset=["share"])
    if topics.empty:
        return
    top = largest(topics, "share")
    own = frame[(frame.layer == top.layer) & frame.null_high.notna() & frame.share.notna()]
    if own.empty:
        return
    above = own[(own.share >= AS_MUCH * top.share) & (own.share > own.null_high)]
    names = [f"the {row.by} ({percent(row.share)})" for row in rows(above)]
    where = f"in layer {top.layer}, the most topical"
    if not names and top.share <= 0:
        return
    claim = f"No covariate explains nearly as much of the routing as the topic does {where}."
    if names:
        claim = (
            f"{capital(listing(names))} explain{'s' if len(names) == 1 else ''} about as much of "
            f"the routing as the topic ({percent(max(top.share, 0.0))}) {where}: the two may not "
            "be told apart."
        )
    details = "; ".join(
        f"{row.by} {percent(row.share)} (exchanged: 97.5% below {percent(row.null_high)}; "
        f"{int(row.values)} values, {int(row.groups):,} groups)"
        for row in rows(own)
    )
    yield Sentence(
        "covariates",
        "warning" if names else "fact",
        claim,
        f"{capital(details)}; topic {percent(top.share)}. Unit: I(x; e) / H(e); baseline: values "
        "exchanged between groups, positions within them, subtracted.",
        layer=int(top.layer),
    )


def _within(within: WithinStrata, design: Design) -> Iterator[Sentence]:
    """Whether the topic is told among groups of like length, positions taken out."""
    if within.p_value != within.p_value:
        return  # other chapters say that there are fewer than 10 groups
    sizes = (
        f"n = {within.groups:,} groups of a topic in {within.strata} strata of length, of which "
        f"{percent(within.movable)} have another topic at their length; unit: lead of the own "
        "topic in cross-validation, on choices less what their positions make expect; baseline: "
        f"topics permuted within strata; {p_text(within.p_value, design.permutations)}; at least "
        f"{MIN_GROUPS_FOR_P} groups in a topic."
    )
    if not within.can_be_told:
        claim = "Topic and length cannot be told apart: most lengths are of one topic alone."
        yield Sentence("covariates", "warning", claim, sizes)
    elif within.p_value <= design.alpha:
        claim = "Among texts of like length, and positions taken out, experts still tell the topic."
        yield Sentence("covariates", "finding", claim, sizes)
    else:
        claim = (
            "No evidence that experts tell the topic among texts of like length, positions taken "
            "out."
        )
        yield Sentence("covariates", "none", claim, sizes)
