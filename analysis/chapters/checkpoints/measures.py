"""E14 within a run: how much of its final routing each snapshot of the training already had."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...data.documents import DocumentCounts
from ...data.run import RunData
from ...statistics.bootstrap import interval
from ...statistics.draws import Draws

SETTLED = 0.8  # of the way from chance to full agreement with the final choices


def routing_saturation(
    saturation: pd.DataFrame, documents: pd.DataFrame, data: DocumentCounts, weights: np.ndarray
) -> pd.DataFrame:
    """Share of the finally chosen experts that a snapshot chose for the same token, too.

    As router saturation in OLMoE (arXiv 2409.02060, section 5.1).

    Args:
        saturation: saturation.parquet.
        documents: documents.parquet, which names the documents.
        data: per-document counts.
        weights: (B, D) bootstrap weights.

    Returns:
        One row per snapshot and layer: `step`, `layer`, `saturation` with the 95%
        document-bootstrap interval `low`, `high`, `chance` (finally chosen experts per token over
        E: k/E if no slot is empty), `load_chance` (Σ q²/k with q the
        final share of tokens per expert: what two tokens at random have in common), `settled`
        (whether (saturation − chance) / (1 − chance) is at least 0.8 here and in all later
        snapshots), `choices` (finally chosen slots compared), `documents`. Empty without snapshots.
    """
    row_of = {name: row for row, name in enumerate(data.ids)}
    names = documents.set_index("document")["id"].astype(str)
    frame = saturation.assign(row=[row_of.get(names[d], -1) for d in saturation["document"]])
    frame = frame[frame["row"] >= 0]
    records = []
    for _, part in frame.groupby(["step", "layer"]):
        step, layer = (int(part[name].iloc[0]) for name in ("step", "layer"))
        position = data.layers.index(layer)
        rows = part["row"].to_numpy()
        counts = part[["shared", "chosen"]].to_numpy(dtype=float)
        drawn = weights[:, rows].astype(float) @ counts
        of_chosen = drawn[:, 0] / np.where(drawn[:, 1] > 0, drawn[:, 1], np.nan)
        low, high = interval(of_chosen, len(rows))
        shared, chosen = counts.sum(axis=0)
        load = data.counts[rows, position].sum(axis=0) / data.tokens[rows].sum()
        per_token = data.counts[rows, position].sum() / data.tokens[rows].sum()
        records.append(
            {
                "step": step,
                "layer": layer,
                "saturation": shared / max(chosen, 1),
                "low": float(low),
                "high": float(high),
                "chance": per_token / data.num_experts,
                "load_chance": (load**2).sum() / max(load.sum(), 1e-12),
                "choices": int(chosen),
                "documents": len(rows),
            }
        )
    columns = ["step", "layer", "saturation", "low", "high", "chance", "load_chance"]
    result = pd.DataFrame(records, columns=[*columns, "choices", "documents"])
    return result.assign(settled=_settled(result))


def _settled(frame: pd.DataFrame) -> np.ndarray:
    """Whether each row and all later ones of its layer are near the final choices."""
    near = frame["saturation"] - frame["chance"] >= SETTLED * (1 - frame["chance"])
    later = near[::-1].groupby(frame["layer"][::-1]).cummin()
    settled: np.ndarray = later[::-1].to_numpy(dtype=bool)
    return settled


def settled_steps(frame: pd.DataFrame) -> dict[int, int | None]:
    """Layer → first snapshot from which it stays settled; None = not before the last one."""
    steps: dict[int, int | None] = {}
    for layer in sorted(set(frame["layer"].tolist())):
        own = frame.loc[frame["settled"] & (frame["layer"] == layer), "step"]
        steps[layer] = None if own.empty else int(own.min())
    return steps


@dataclass(frozen=True)
class CheckpointsRecord:
    """How the routing got where it is.

    Attributes:
        saturation: `routing_saturation`; empty without snapshots.
    """

    saturation: pd.DataFrame


def measure_checkpoints(run: RunData, draws: Draws) -> CheckpointsRecord:
    """Computes the record."""
    store = run.store
    return CheckpointsRecord(
        routing_saturation(store.saturation, store.documents, run.documents, draws.weights)
    )
