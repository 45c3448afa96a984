"""The verdict on load: how even it is, and which experts are dead."""

from collections.abc import Iterator

from ...data.design import Design
from ...html.records import largest, rows
from ...html.sentence import Sentence, Tone, by_layer, capital
from ...html.text import (
    expert_name,
    interval_text,
    number,
    percent,
    units_text,
)
from .measures import LoadRecord as Record

LISTED_EXPERTS = 20
EVEN, CONCENTRATED = 0.5, 2.0  # MaxVio below: even load; above: concentrated


def load_sentences(record: Record, design: Design) -> Iterator[Sentence]:
    """How even the load is."""
    worst = largest(record.balance, "max_violation")
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
            for row in rows(record.balance.sort_values("max_violation", ascending=False))
        ]
    )
    yield Sentence(
        "load",
        tone,
        f"The load is {word}: at worst, in layer {worst.layer}, the busiest expert gets "
        f"{number(1 + worst.max_violation, 2)} times an even share.",
        f"{capital(layers)}. n = {worst.tokens:,} untouched tokens of "
        f"{units_text(worst.groups, worst.documents)}; unit: MaxVio = (largest − mean) / mean "
        f"load; baseline: 0 at perfect balance, {worst.experts - 1} if one expert took all.",
        layer=int(worst.layer),
    )
    dead = rows(record.load[record.load.dead])
    if dead:
        unit = "documents" if worst.groups == worst.documents else "groups"
        names = ", ".join(expert_name(row.layer, row.expert) for row in dead[:LISTED_EXPERTS])
        yield Sentence(
            "load",
            "warning",
            f"{len(dead)} of {len(record.load)} experts are dead: no untouched token chose them.",
            f"{names}{' …' if len(dead) > LISTED_EXPERTS else ''}. n = "
            f"{units_text(worst.groups, worst.documents)}; at most "
            f"{percent(dead[0].use_bound)} of {unit} like these use such an "
            f"expert (upper 95% bound); baseline: an even share of {percent(dead[0].chance)}.",
            layer=int(dead[0].layer),
        )
