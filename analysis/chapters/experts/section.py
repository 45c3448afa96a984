"""Profile cards: what is known of one expert, in one place."""

from collections import defaultdict
from typing import Any

import pandas as pd

from ...data.design import Design
from ...html.page import LOOK_UP, ExpertProfile, ProfileLine, Section
from ...html.records import rows
from ...html.text import expert_name, number, percent, visible
from .measures import ExpertsRecord as Record

MOST_TOPICS, MOST_TOKENS, MOST_CLASSES, LONGEST_TOPIC = 3, 6, 2, 40

Groups = dict[tuple[int, int], list[Any]]  # (layer, expert) → its rows of a frame


def experts_section(record: Record, design: Design) -> Section:
    """What is known of each expert, card by card."""
    return Section(
        "experts",
        "Expert by expert",
        "What the chapters above found of each expert, side by side.",
        profiles=expert_profiles(record, design),
        group=LOOK_UP,
    )


def expert_profiles(record: Record, design: Design) -> dict[int, list[ExpertProfile]]:
    """Builds the cards of every layer: load, topics, tokens, token classes, [MASK], knock-out."""
    cells = _by_expert(record.cells.sort_values("log2_ratio", ascending=False))
    tokens = _by_expert(record.tokens)
    classes = record.classes.sort_values("log2_ratio", ascending=False)
    forms = _by_expert(classes.rename(columns={"class": "token_class"}))
    masked, knockout = _by_expert(record.masked), _by_expert(record.knockout)
    profiles: dict[int, list[ExpertProfile]] = {layer: [] for layer in design.layers}
    for row in rows(record.load):
        place = row.layer, row.expert
        lines = [
            ProfileLine("Load", [_load(row)]),
            ProfileLine("Topics", _topics(cells[place], design.alpha)),
            ProfileLine("Tokens", _tokens(tokens[place]), code=True),
            ProfileLine("Forms", _classes(forms[place])),
            ProfileLine("[MASK]", _masked(masked[place])),
            ProfileLine("Knock-out", _knockout(knockout[place])),
        ]
        profiles[row.layer].append(
            ExpertProfile(
                layer=row.layer,
                expert=row.expert,
                name=expert_name(row.layer, row.expert),
                load_over_even=min(2.0, row.share / row.chance),
                lines=[line for line in lines if line.items],
            )
        )
    return profiles


def _by_expert(frame: pd.DataFrame) -> Groups:
    groups: Groups = defaultdict(list)
    for row in rows(frame):
        groups[row.layer, row.expert].append(row)
    return groups


def _load(row: Any) -> tuple[str, str]:
    share, chance = percent(row.share, 3), percent(row.chance, 3)
    span = f"{percent(row.low, 3)} to {percent(row.high, 3)}; " if row.low == row.low else ""
    return f"{share} of tokens", f"{span}even share {chance}"


def _topics(own: list[Any], alpha: float) -> list[tuple[str, str]]:
    """The topics that it is chosen most for; a dot marks what shuffled topics do not reach."""
    return [
        (
            f"{'● ' if row.p_value <= alpha else ''}{visible(row.topic, LONGEST_TOPIC)}",
            f"{_signed(row.log2_ratio)} {_span(row.low, row.high)}",
        )
        for row in own[:MOST_TOPICS]
        if row.log2_ratio > 0
    ]


def _tokens(own: list[Any]) -> list[tuple[str, str]]:
    return [(visible(row.token, 30), _signed(row.log2_ratio)) for row in own[:MOST_TOKENS]]


def _classes(own: list[Any]) -> list[tuple[str, str]]:
    """The token classes that it is chosen more for than chance explains."""
    sure = [row for row in own if row.low > 0]
    return [
        (row.token_class, f"{_signed(row.log2_ratio)} {_span(row.low, row.high)}")
        for row in sure[:MOST_CLASSES]
    ]


def _masked(own: list[Any]) -> list[tuple[str, str]]:
    return [
        (
            f"{percent(row.masked_share, 3)} of masks",
            f"{_signed(row.log2_ratio)} {_span(row.low, row.high)} against untouched tokens",
        )
        for row in own
    ]


def _knockout(own: list[Any]) -> list[tuple[str, str]]:
    return [
        (
            f"{visible(row.topic, LONGEST_TOPIC)}",
            f"loses {number(row.effect, 2)} nats {_span(row.low, row.high)}, other topics "
            f"{number(row.other_effect, 2)}; specificity {number(row.specificity, 2)}, of controls "
            f"{number(row.control_specificity, 2)}",
        )
        for row in own
    ]


def _signed(ratio: float) -> str:
    return f"{'+' if ratio > 0 else ''}{number(ratio, 2)}"


def _span(low: float, high: float) -> str:
    return f"({number(low, 2)} to {number(high, 2)})" if low == low else "(no interval)"
