"""The verdict: sentences that answer first, each with its layer, n, unit and baseline."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .chapters.checkpoints.verdict import saturation_sentences
from .chapters.context.verdict import context_sentences
from .chapters.form.verdict import (
    form_sentences,
    load_sentences,
    masked_sentences,
    vocabulary_sentences,
)
from .chapters.knockout.verdict import knockout_sentences
from .chapters.senses.verdict import sense_sentences
from .chapters.time.verdict import time_sentences
from .chapters.topics.verdict import cell_sentences, topic_sentences
from .chapters.topics.verdict_origins import origin_sentences
from .chapters.training.verdict import drop_sentences
from .data.curves import TrainingCurves
from .html.sentence import Sentence, capital
from .html.text import number, visible
from .results import RoutingResults
from .statistics.permutations import MIN_DOCUMENTS_FOR_P, MIN_DOCUMENTS_FOR_TRUST

LEARNED_LITTLE = 0.3  # nats below the unigram entropy
LONGEST_WARNING = 400
SHOWN_BY = (
    ("routing may follow size", "corpus"),
    ("documents per topic", "corpus"),
    ("routing may follow length", "lengths"),
    ("use the same words", "overlap"),
)  # words of an audit's warning → its subject; others are of no figure


@dataclass(frozen=True)
class ModelQuality:
    """Validation loss and unigram entropy, nats per predicted token; training tokens, in all and
    up to the best step, whose model was kept; whether it predicts the next token, or masked ones.
    """

    validation_loss: float
    unigram_entropy: float
    train_tokens: int
    best_step_tokens: int
    is_causal: bool


def write_verdict(
    results: RoutingResults,
    quality: ModelQuality | None,
    audit_warnings: Sequence[str],
    curves: TrainingCurves | None = None,
) -> list[Sentence]:
    """Writes all sentences, the question of topic first.

    Args:
        results: what the routing store says.
        quality: how well the model predicts; None where it is not known.
        audit_warnings: what the corpus audit warns of, in words.
        curves: of its training; None where it is not known.
    """
    return [
        *topic_sentences(results),
        *context_sentences(results),
        *origin_sentences(results),
        *cell_sentences(results),
        *knockout_sentences(results),
        *form_sentences(results),
        *vocabulary_sentences(results),
        *masked_sentences(results),
        *load_sentences(results),
        *(drop_sentences(curves) if curves else ()),
        *saturation_sentences(results),
        *time_sentences(results),
        *sense_sentences(results),
        *(model_sentences(quality) if quality else ()),
        *corpus_sentences(results, audit_warnings),
    ]


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


def corpus_sentences(results: RoutingResults, warnings: Sequence[str]) -> Iterator[Sentence]:
    """What limits the answer on the side of the data."""
    fewest = int(results.information["fewest_documents"].iloc[0])
    if MIN_DOCUMENTS_FOR_P <= fewest < MIN_DOCUMENTS_FOR_TRUST:
        yield Sentence(
            "corpus",
            "warning",
            f"Few documents: the smallest topic has {fewest}; below {MIN_DOCUMENTS_FOR_TRUST} "
            "estimates are rough.",
            "Raise corpus.splits.probe_documents, or use a larger corpus.",
        )
    for warning in warnings:
        subject = next((name for words, name in SHOWN_BY if words in warning), "audit")
        yield Sentence(
            subject, "warning", capital(visible(warning, LONGEST_WARNING)), "Corpus audit."
        )
