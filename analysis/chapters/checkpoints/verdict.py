"""The verdict on training: when routing settled."""

from collections.abc import Iterator

import pandas as pd

from ...data.design import Design
from ...html.records import rows
from ...html.sentence import Sentence, by_layer, capital, layer_names
from ...html.text import interval_text, percent
from .measures import PLATEAU, SETTLED, settled_steps
from .measures import CheckpointsRecord as Record


def saturation_sentences(record: Record, design: Design) -> Iterator[Sentence]:
    """From which snapshot on every layer kept to its final choices."""
    frame = record.saturation
    if frame.empty:
        return
    last = frame[frame.step == frame.step.max()]
    details = by_layer(
        [
            f"layer {row.layer}: {percent(row.saturation)} at step {row.step:,}, "
            f"{interval_text(100 * row.low, 100 * row.high)}"
            for row in rows(last)
        ]
    )
    yield Sentence(
        "checkpoints",
        "fact",
        saturation_claim(frame),
        f"{capital(details)}. n = {frame.groups.iloc[0]:,} groups "
        f"({frame.documents.iloc[0]:,} documents); unit: share of the finally chosen experts that "
        f"the snapshot chose, too; baseline: {percent(frame.chance.iloc[0])} by chance (k/E), "
        f"{percent(last.load_chance.mean())} by the final load alone. A layer counts as settled "
        f"where the 95% interval, here and later, lies above {percent(SETTLED)} of the way, and at "
        f"most {percent(PLATEAU)} of it are still to come; as moving where it lies below.",
    )


def saturation_claim(frame: pd.DataFrame) -> str:
    """Says in one sentence when the routing of `measures.routing_saturation` settled."""
    steps, last = settled_steps(frame), int(frame.step.max())
    settled = {layer: step for layer, step in steps.items() if step is not None}
    meaning = f"at least {percent(SETTLED)} of the way from chance to the final choices"
    if len(settled) == len(steps):
        slowest = max(settled.values())
        if slowest == int(frame.step.min()):
            return (
                f"Routing had settled by the first snapshot (step {slowest:,}): every layer was "
                f"{meaning}, and stayed."
            )
        layers = frame[frame.layer.map(steps) == slowest].drop_duplicates("layer")
        return (
            f"Routing settled by step {slowest:,}, {layer_names(layers)} last: from there on every "
            f"layer was {meaning}."
        )
    own = frame[frame.step == last]
    moving = own[own.moving]
    unknown = own[~own.moving & ~own.layer.isin(list(settled))]
    done = own[own.layer.isin(list(settled))]
    parts = []
    if len(moving):
        where = "no layer was" if len(moving) == len(own) else f"{layer_names(moving)} not yet"
        parts.append(f"Routing was still moving at step {last:,}: {where} {meaning}")
    if len(unknown):
        parts.append(f"whether {layer_names(unknown)} had settled by step {last:,} cannot be told")
    if len(done):
        verb = "was" if len(done) == 1 else "were"
        parts.append(f"by then {layer_names(done)} {verb} {meaning}")
    return f"{capital('; '.join(parts))}."
