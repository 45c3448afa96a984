"""E10 and E11: whether neighbours share an expert, and how sure the router is, topic by topic."""

import numpy as np
import pandas as pd

from ...data.sample import TokenSample

LAGS = range(1, 9)


def locality(sample: TokenSample) -> pd.DataFrame:
    """Share of untouched tokens with the same first choice as the one `lag` positions on.

    Tokens without an expert in a layer are left out there.

    Returns:
        One row per layer and lag: `same`, `shuffled` (expected with the document's first choices in
        random order: what the document as a whole gives), `chance` (Σ_e p_e², what the load
        gives), `pairs`, `documents`. Empty when nothing is sampled.
    """
    first = sample.experts[..., 0].T.astype(np.int32, order="C")  # (L, N)
    by_lag = {lag: _pairs(sample.documents, sample.positions, lag) for lag in LAGS}
    records = []
    for position, layer in enumerate(sample.layers):
        own = _document_choices(sample, first[position])
        lengths = own.sum(axis=1)
        alike = (own * (own - 1.0)).sum(axis=1) / np.maximum(lengths * (lengths - 1.0), 1)
        load = own.sum(axis=0) / max(lengths.sum(), 1)
        executed = first[position] < sample.num_experts
        for lag, (all_now, all_later) in by_lag.items():
            both = executed[all_now] & executed[all_later]
            now, later = all_now[both], all_later[both]
            if not len(now):
                continue
            pairs = np.bincount(sample.documents[now], minlength=len(sample.rows))
            records.append(
                {
                    "layer": layer,
                    "lag": lag,
                    "same": np.mean(first[position, now] == first[position, later]),
                    "shuffled": (pairs * alike).sum() / len(now),
                    "chance": (load**2).sum(),
                    "pairs": len(now),
                    "documents": len(sample.rows),
                }
            )
    columns = ["layer", "lag", "same", "shuffled", "chance", "pairs", "documents"]
    return pd.DataFrame(records, columns=columns)


def _document_choices(sample: TokenSample, first: np.ndarray) -> np.ndarray:
    """First choices (N) of one layer by document, without empty slots: (S, E)."""
    documents, width = len(sample.rows), sample.num_experts + 1
    counts: np.ndarray = np.bincount(sample.documents * width + first, minlength=documents * width)
    return counts.reshape(documents, width)[:, :-1]


def _pairs(documents: np.ndarray, positions: np.ndarray, lag: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of tokens that stand `lag` positions apart in one document: (now, later)."""
    stride = int(positions.max(initial=0)) + 1 + max(LAGS)
    keys = documents * stride + positions  # ascending
    later = np.searchsorted(keys, keys + lag)
    found = later < len(keys)
    found[found] = keys[later[found]] == keys[found] + lag
    return np.flatnonzero(found), later[found]
