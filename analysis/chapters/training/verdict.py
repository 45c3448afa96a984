"""The verdict on the model: what it has learned, and what a capacity left out."""

from collections.abc import Iterator

import pandas as pd

from ...data.curves import TrainingCurves
from ...data.design import Design
from ...data.quality import ModelQuality
from ...html.records import largest, rows
from ...html.sentence import Sentence, by_layer, capital
from ...html.text import number, percent
from .measures import TrainingRecord as Record

LEARNED_LITTLE = 0.3  # nats below the unigram entropy
MANY_DROPPED = 0.01  # Switch Transformer drops fewer (arXiv 2101.03961, section 2.2)


def training_sentences(record: Record, design: Design) -> Iterator[Sentence]:
    """What was dropped in training, and what the model has learned."""
    if record.curves is not None:
        yield from drop_sentences(record.curves)
    if record.quality is not None:
        yield from model_sentences(record.quality)


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


def model_sentences(quality: ModelQuality) -> Iterator[Sentence]:
    """What the model has learned, without which its routing means little."""
    gain = quality.unigram_entropy - quality.validation_loss
    little = gain < LEARNED_LITTLE
    what = "the next token" if quality.is_causal else "masked tokens"
    tokens = f"{quality.best_step_tokens:,}"
    if quality.best_step_tokens < quality.train_tokens:  # later steps were no better
        tokens += f" of {quality.train_tokens:,}"
    claim = f"The model predicts {what} {number(gain, 3)} nats better than frequency does."
    if little:
        claim = (
            "The model has learned little more than token frequencies: do not read its routing "
            "as that of a trained model."
        )
    yield Sentence(
        "model",
        "warning" if little else "fact",
        claim,
        f"Validation loss {number(quality.validation_loss, 4)} nats per predicted token after "
        f"{tokens} training tokens; baseline: {number(quality.unigram_entropy, 4)} "
        "nats from token frequencies, same positions.",
    )
