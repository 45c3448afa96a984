"""E11, confidence: how sure the router is of its choice, topic by topic."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ....data_processors.mask_kinds import MaskKind
from ...data.run import RunData
from ...statistics.draws import Draws


def confidence(
    sums: dict[str, np.ndarray],
    tokens: np.ndarray,
    topics: Sequence[str],
    layers: Sequence[int],
) -> pd.DataFrame:
    """How sure the router is of untouched tokens, by topic.

    Args:
        sums: `entropy` (nats), `mass` (of the chosen experts) and `margin` (smallest chosen
            probability minus the largest other), each (T, L) sums over tokens; NaN where unknown.
        tokens: (T) tokens.
        topics: names (T).
        layers: layer numbers (L).

    Returns:
        One row per topic with tokens and layer: `entropy` in bits, `mass`, `margin` (means over
        tokens), the mean over topics of each (`base_entropy`, …), `tokens`. Empty where unknown.
    """
    scale = {"entropy": 1 / np.log(2), "mass": 1.0, "margin": 1.0}
    own = np.flatnonzero(tokens)
    columns = ["topic", "layer", *scale, *(f"base_{name}" for name in scale), "tokens"]
    if not all(np.isfinite(sums[name][own]).all() for name in scale) or not len(own):
        return pd.DataFrame(columns=columns)
    means = {name: sums[name][own] / tokens[own, None] * factor for name, factor in scale.items()}
    records = [
        {
            "topic": topics[topic],
            "layer": layer,
            **{name: mean[row, position] for name, mean in means.items()},
            **{f"base_{name}": mean[:, position].mean() for name, mean in means.items()},
            "tokens": int(tokens[topic]),
        }
        for row, topic in enumerate(own.tolist())
        for position, layer in enumerate(layers)
    ]
    return pd.DataFrame(records, columns=columns)


@dataclass(frozen=True)
class ConfidenceRecord:
    """How sure the router is.

    Attributes:
        confidence: `confidence`; empty where the router's scores are not known.
    """

    confidence: pd.DataFrame


def measure_confidence(run: RunData, draws: Draws) -> ConfidenceRecord:
    """Computes the record."""
    store = run.store
    names = ("entropy", "mass", "margin")
    sums = {name: store.tables[f"topic_mask_kind_{name}"][:, MaskKind.UNTOUCHED] for name in names}
    tokens = store.tables["topic_mask_kind_tokens"][:, MaskKind.UNTOUCHED]
    return ConfidenceRecord(confidence(sums, tokens, store.topics, run.documents.layers))
