"""The verdict on training: when routing settled."""

from collections.abc import Iterator

import pandas as pd

from ...data.design import Design
from ...html.records import rows
from ...html.sentence import Sentence, by_layer, capital, layer_names
from ...html.text import interval_text, percent
from .measures import SETTLED, settled_steps
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
        f"{capital(details)}. n = {frame.documents.iloc[0]:,} documents; unit: share of the "
        "finally chosen experts that the snapshot chose, too; baseline: "
        f"{percent(frame.chance.iloc[0])} by chance (k/E), "
        f"{percent(last.load_chance.mean())} by the final load alone.",
    )


def saturation_claim(frame: pd.DataFrame) -> str:
    """Says in one sentence when the routing of `measures.routing_saturation` settled."""
    steps = settled_steps(frame)
    meaning = f"at least {percent(SETTLED)} of the way from chance to the final choices"
    settled = {layer: step for layer, step in steps.items() if step is not None}
    last = int(frame.step.max())
    if not settled:
        return f"Routing was still moving at step {last:,}: no layer was {meaning}."
    slowest = max(settled.values())
    if len(settled) == len(steps):
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
    done = frame.layer.isin(list(settled))
    late, early = (frame[own].drop_duplicates("layer") for own in (~done, done))
    verb = "was" if len(early) == 1 else "were"
    return (
        f"Routing was still moving at step {last:,} in {layer_names(late)}; by then "
        f"{layer_names(early)} {verb} {meaning}."
    )
