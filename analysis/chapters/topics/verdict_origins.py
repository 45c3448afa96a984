"""The verdict on origins: whether topics, or the sources they came from, are told apart."""

from collections.abc import Iterator

from ...html.records import largest
from ...html.sentence import Sentence, layer_names
from ...html.text import p_text, percent
from ...results import RoutingResults


def origin_sentences(results: RoutingResults) -> Iterator[Sentence]:
    """Whether what was found of topics holds when whole origins swap them; else nothing."""
    frame, found = results.structure.origins, results.information
    found = found[found.family_p_value <= results.alpha]
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
    lost = own[~(own.family_p_value <= results.alpha)]
    if own.family_p_value.isna().any():
        claim = (
            "Topic and source cannot be told apart: too few origins (files, authors, addresses) "
            "to shuffle topics over."
        )
    elif lost.empty:
        claim = (
            "The topic information holds when whole origins, not documents, swap topics"
            f"{_beyond(results)}."
        )
    else:
        claim = (
            f"In {layer_names(lost)} it may be sources rather than topics: when whole origins, not "
            "documents, swap topics, there is no evidence."
        )
    yield Sentence("origins", "fact" if lost.empty else "warning", claim, evidence)


def _beyond(results: RoutingResults) -> str:
    """Says whether what goes beyond vocabulary holds, too, where it was found."""
    frame = results.beyond
    found = frame[frame.family_p_value <= results.alpha]
    if found.empty:
        return ""
    lost = found[~(found.origin_family_p_value <= results.alpha)]
    if lost.empty:
        return ", and so does what goes beyond vocabulary"
    return f"; what goes beyond vocabulary in {layer_names(lost)} does not"
