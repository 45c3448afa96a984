"""Expert choices by some property of a token: its type, its class, the type asked for."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...inference.store.reader import RoutingStore

MIN_OCCURRENCES = 10  # rarer values are near 100% on one expert by construction
NORMAL_95 = 1.959964
NOT_TEXT = ("mask", "special")  # classes of tokens that are no untouched text


@dataclass(frozen=True)
class TypeCounts:
    """Choices by value of a property, untouched tokens.

    Attributes:
        names: readable values (V).
        tokens: occurrences (V).
        counts: choices (V, L, E).
    """

    names: Sequence[str]
    tokens: np.ndarray
    counts: np.ndarray

    def frequent(self) -> "TypeCounts":
        """Keeps the values seen at least 10 times."""
        kept = np.flatnonzero(self.tokens >= MIN_OCCURRENCES)
        names = [self.names[row] for row in kept.tolist()]
        return TypeCounts(names, self.tokens[kept], self.counts[kept])


def type_counts(store: RoutingStore) -> TypeCounts:
    """Choices by token type; types without a row of their own (the last row) are left out."""
    tables = store.tables
    return TypeCounts(
        store.facts.type_strings[:-1], tables["type_tokens"][:-1], tables["type_expert"][:-1]
    )


def target_counts(store: RoutingStore) -> TypeCounts:
    """Choices by the token type that the model is asked for at that place."""
    tables = store.tables
    return TypeCounts(
        store.facts.type_strings[:-1], tables["target_tokens"][:-1], tables["target_expert"][:-1]
    )


def class_counts(store: RoutingStore) -> TypeCounts:
    """Choices by token class, untouched text alone."""
    rows = [row for row, name in enumerate(store.facts.token_classes) if name not in NOT_TEXT]
    names = [store.facts.token_classes[row].replace("_", " ") for row in rows]
    return TypeCounts(names, store.tables["class_tokens"][rows], store.tables["class_expert"][rows])
