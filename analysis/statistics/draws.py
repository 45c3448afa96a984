"""The random draws of one chapter."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .permutations import document_orders


@dataclass(frozen=True)
class Draws:
    """What a chapter draws from.

    Attributes:
        generator: for permutations and whatever else is drawn.
        documents: D.
        permutations: P.
        weights: (B, D) bootstrap weights.
    """

    generator: np.random.Generator
    documents: int
    permutations: int
    weights: np.ndarray

    @cached_property
    def orders(self) -> np.ndarray:
        """(P, D) orders of the documents, drawn when first asked for."""
        return document_orders(self.generator, self.documents, self.permutations)
