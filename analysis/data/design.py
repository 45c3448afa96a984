"""What every chapter knows of the analysis: names, sizes, and how the tests are run."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Design:
    """The frame of a report.

    Attributes:
        topics: names, in the order of the figures (T).
        layers: layer numbers in the model (L).
        num_experts: experts per layer (E).
        top_k: experts chosen per token and layer (k).
        alpha: family-wise error rate of the marks.
        permutations: behind the p-values.
    """

    topics: Sequence[str]
    layers: Sequence[int]
    num_experts: int
    top_k: int
    alpha: float
    permutations: int
