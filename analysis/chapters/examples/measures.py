"""Whole documents token by token: what the viewer in the page shows."""

from dataclasses import dataclass
from pathlib import Path

from ....inference.store.reader import RoutingStore
from ...data.run import RunData
from ...statistics.draws import Draws


@dataclass(frozen=True)
class ExamplesRecord:
    """Where the examples come from.

    Attributes:
        store: the routing store.
        per_topic: documents of each topic, at most.
        tokenizer: tokenizer.json that reads the token types without a row of their own.
    """

    store: RoutingStore
    per_topic: int
    tokenizer: Path


def measure_examples(run: RunData, draws: Draws) -> ExamplesRecord:
    """Gathers the record."""
    return ExamplesRecord(run.store, run.settings.example_documents, run.tokenizer)
