"""E15, chosen value × text's value: what a masked router loses when it is told another value."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ...data.documents import DocumentCounts, rows_of
from ...statistics.bootstrap import interval


def condition_losses(
    conditions: pd.DataFrame,
    names: Sequence[str],
    documents: pd.DataFrame,
    data: DocumentCounts,
    weights: np.ndarray,
    blocks: Mapping[str, str] | None,
) -> pd.DataFrame:
    """Perplexity of the texts of each value under each value that the router is told.

    Args:
        conditions: metadata_values.parquet.
        names: of the values (periods, say), in order.
        documents: documents.parquet, which names the documents.
        data: per-document counts.
        weights: (B, D) bootstrap weights; a block takes those of its first document.
        blocks: document id → block, as of `dates.dated_documents`; None = each document by itself.

    Returns:
        One row per chosen value and text's own value: `chosen`, `own`, `perplexity` (exp of the
        mean loss over labels) with the 95% bootstrap interval `low`, `high` over blocks (NaN for
        fewer than 3), `change` of the mean loss against the text's own value (nats per label,
        paired; + `change_low`, `change_high`; 0 for the own value), `blocks`, `documents`,
        `labels`. Empty without conditions.
    """
    columns = ["chosen", "own", "perplexity", "low", "high", "change", "change_low", "change_high"]
    frame = conditions.assign(row=rows_of(conditions["document"].to_numpy(), documents, data))
    frame = frame[(frame["row"] >= 0) & (frame["own"] >= 0)]
    if frame.empty:
        return pd.DataFrame(columns=[*columns, "blocks", "documents", "labels"])
    groups = [blocks.get(name, name) for name in data.ids] if blocks else data.ids
    units, first = np.unique(np.asarray(groups, dtype=str), return_index=True)
    unit_of = dict(zip(units.tolist(), first.tolist(), strict=True))
    places = np.array([unit_of[name] for name in groups])  # row whose weight each document takes
    records = []
    for own in sorted(set(frame["own"].tolist())):
        part = frame[frame["own"] == own]
        losses = part.pivot_table(index="row", columns="given", values="loss").dropna()
        rows = losses.index.to_numpy()
        labels = part.drop_duplicates("row").set_index("row")["num_labels"][rows].to_numpy(float)
        totals = losses.to_numpy() * labels[:, None]  # (D, conditions)
        drawn_labels = weights[:, places[rows]].astype(float) * labels
        means = totals.sum(axis=0) / labels.sum()
        number = len(np.unique(places[rows]))
        scale = drawn_labels.sum(axis=1, keepdims=True)
        drawn = drawn_labels @ losses.to_numpy() / np.where(scale > 0, scale, np.nan)  # (B, …)
        at_home = losses.columns.get_loc(own)
        for position, chosen in enumerate(losses.columns):
            low, high = interval(np.exp(drawn[:, position]), number)
            change = interval(drawn[:, position] - drawn[:, at_home], number)
            records.append(
                {
                    "chosen": names[int(chosen)],
                    "own": names[own],
                    "perplexity": np.exp(means[position]),
                    "low": float(low),
                    "high": float(high),
                    "change": means[position] - means[at_home],
                    "change_low": float(change[0]),
                    "change_high": float(change[1]),
                    "blocks": number,
                    "documents": len(rows),
                    "labels": int(labels.sum()),
                }
            )
    return pd.DataFrame(records)
