"""The verdict on training: what a capacity left out."""

from collections.abc import Iterator

import pandas as pd

from ...data.curves import TrainingCurves
from ...html.records import largest, rows
from ...html.sentence import Sentence, by_layer, capital
from ...html.text import percent

MANY_DROPPED = 0.01  # Switch Transformer drops fewer (arXiv 2101.03961, section 2.2)


def drop_sentences(curves: TrainingCurves) -> Iterator[Sentence]:
    """How many choices met a full expert in training; nothing where none did."""
    own = curves.layers[(curves.layers.metric == "drop_rate") & (curves.layers.split == "train")]
    if not (own.value > 0).any():
        return
    means = own.groupby("layer", as_index=False).agg(value=("value", "mean"))
    worst = largest(means, "value")
    last = own.loc[own.groupby("layer").step.idxmax()].set_index("layer").value
    layers = by_layer(
        [
            f"layer {row.layer}: {percent(row.value)}, at the end {percent(last[row.layer])}"
            for row in rows(means.sort_values("value", ascending=False))
        ]
    )
    yield Sentence(
        "dropped",
        "warning" if worst.value > MANY_DROPPED else "fact",
        f"In training, {percent(worst.value)} of the choices in layer {worst.layer} met a full "
        "expert and were dropped: those tokens passed it by.",
        f"{capital(layers)}. n = {int(own.tokens.max()):,} training tokens in "
        f"{own.step.nunique()} points; unit: share of choices, mean of the points; baseline: 0, "
        f"room for all. {_in_evaluation(curves.layers)}",
    )


def _in_evaluation(layers: pd.DataFrame) -> str:
    own = layers[(layers.metric == "drop_rate") & (layers.split == "validation")].value
    if own.empty:
        return "Not measured in evaluation."
    return f"In evaluation {f'up to {percent(own.max())}' if own.max() > 0 else 'none'}."
