"""E12, finer: routing by position of untouched and masked tokens, and by special token."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

COLUMNS = ["mask_kind", "place", "layer", "expert", "share", "entropy", "tokens"]


def place_routing(
    counts: np.ndarray,
    tokens: np.ndarray,
    entropy_sums: np.ndarray,
    places: Sequence[tuple[str, str]],
    layers: Sequence[int],
) -> pd.DataFrame:
    """Shares of experts and router entropy of every place that has tokens.

    Args:
        counts: (K, L, E) choices.
        tokens: (K,).
        entropy_sums: (K, L) in nats; NaN where the router's distribution is unknown.
        places: (mask kind, position span or special token) of each row.
        layers: layer numbers (L).

    Returns:
        One row per place, layer and expert: `mask_kind`, `place`, `share` of its tokens that
        chose the expert, mean router `entropy` in bits, `tokens`.
    """
    frames = [
        pd.DataFrame(
            {
                "mask_kind": mask_kind,
                "place": place,
                "layer": layer,
                "expert": np.arange(counts.shape[2]),
                "share": counts[row, position] / tokens[row],
                "entropy": entropy_sums[row, position] / tokens[row] / np.log(2),
                "tokens": int(tokens[row]),
            }
        )
        for row, (mask_kind, place) in enumerate(places)
        for position, layer in enumerate(layers)
        if tokens[row]
    ]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=COLUMNS)
