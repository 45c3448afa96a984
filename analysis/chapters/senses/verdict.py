"""The verdict on senses: whether a token's experts depend on what it means."""

from collections.abc import Iterator

import pandas as pd

from ...data.design import Design
from ...html.records import largest, rows
from ...html.sentence import Sentence, by_layer, capital, layer_names
from ...html.text import listing, number, p_text, visible
from .measures import SensesRecord as Record
from .measures import largest_distance

LISTED = 4


def sense_sentences(record: Record, design: Design) -> Iterator[Sentence]:
    """One sentence on all tokens whose senses were labelled."""
    frame, alpha, permutations = record.tokens, design.alpha, design.permutations
    if frame.empty:
        if not record.left_out.empty:
            yield Sentence(
                "senses",
                "warning",
                "No test of senses: no token has two senses with at least 20 occurrences each.",
                "Add texts to the file of route.senses.",
            )
        return
    found = frame[frame.family_p_value <= alpha]
    names = [visible(token) for token in dict.fromkeys(found.token)]
    shown = [f"“{name}”" for name in names[:LISTED]]
    if len(names) > LISTED:
        shown.append(f"{len(names) - LISTED} more")
    tokens = frame.drop_duplicates("token")
    claim = (
        f"No evidence that the routing of {listing([f'“{visible(t)}”' for t in tokens.token])} "
        "depends on its sense."
    )
    if not found.empty:
        top = largest(found, "excess")
        farthest = f"the farthest is “{visible(top.token)}” in layer {top.layer}, "
        claim = (
            f"{capital(listing(shown))} {'is' if len(names) == 1 else 'are'} routed by sense in "
            f"{layer_names(found.drop_duplicates('layer'))}: {farthest if len(found) > 1 else ''}"
            f"distance {number(top.distance, 2)} against {number(top.null_mean, 2)} by chance."
        )
    listed = (frame if found.empty else found).sort_values("excess", ascending=False)
    details = by_layer(
        [
            f"“{visible(row.token)}” in layer {row.layer}: {number(row.distance, 2)} against "
            f"{number(row.null_mean, 2)}, {p_text(row.family_p_value, permutations)}"
            for row in rows(listed)
        ]
    )
    yield Sentence(
        "senses",
        "none" if found.empty else "finding",
        claim,
        f"{capital(details)}. n = {int(tokens.occurrences.sum()):,} occurrences in "
        f"{int(tokens.texts.sum()):,} texts of {int(tokens.groups.sum()):,} groups; "
        "unit: Jensen–Shannon distance between the routing in a sense and overall, at most "
        f"{largest_text(frame)}; baseline: senses permuted over "
        "groups of texts; p family-wise over tokens and layers.",
    )


def largest_text(frame: pd.DataFrame) -> str:
    """The distances of senses that share no expert, e.g. "0.56 (2 senses)"."""
    numbers = sorted({int(senses) for senses in frame.senses})
    return listing([f"{number(largest_distance(n), 2)} ({n} senses)" for n in numbers])
