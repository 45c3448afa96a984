"""E14 within a run: how much of its final routing each snapshot of the training already had."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...data.documents import DocumentCounts, rows_of
from ...data.run import RunData
from ...statistics.bootstrap import interval
from ...statistics.draws import Draws

SETTLED = 0.8  # of the way from chance to full agreement with the final choices
PLATEAU = 0.1  # of that way, which a settled layer may still go until the last snapshot


def routing_saturation(
    saturation: pd.DataFrame,
    documents: pd.DataFrame,
    data: DocumentCounts,
    weights: np.ndarray,
    groups: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Share of the finally chosen experts that a snapshot chose for the same token, too.

    As router saturation in OLMoE (arXiv 2409.02060, section 5.1).

    Args:
        saturation: saturation.parquet.
        documents: documents.parquet, which names the documents.
        data: per-document counts.
        weights: (B, D) bootstrap weights; a group takes those of its first document.
        groups: (D) group of each document; None = each its own.

    Returns:
        One row per snapshot and layer: `step`, `layer`, `saturation` with its 95% bootstrap
        interval `low`, `high` over groups, `chance` (finally chosen experts per token over E: k/E
        if no slot is empty), `load_chance` (Σ q²/k with q the final share of tokens per expert:
        what two tokens at random have in common), `rise_high` (97.5% of what saturation still
        rises until the last snapshot, as a share of the way from chance to 1), `settled` (whether
        here and in all later snapshots at least 0.8 of that way lie below `low`, and `rise_high`
        is at most 0.1), `moving` (whether 0.8 of the way lie above `high`), `choices` (finally
        chosen slots compared), `groups`, `documents`. Empty without snapshots.
    """
    frame = saturation.assign(row=rows_of(saturation["document"].to_numpy(), documents, data))
    frame = frame[frame["row"] >= 0]
    numbers = pd.factorize(np.asarray(groups if groups else data.ids, dtype=object))[0]
    places = np.unique(numbers, return_index=True)[1][numbers]  # first row of each one's group
    records: list[dict[str, float]] = []
    for layer in sorted(set(frame["layer"].tolist())):
        own, position, last = frame[frame["layer"] == layer], data.layers.index(layer), None
        for step in sorted(set(own["step"].tolist()), reverse=True):
            part = own[own["step"] == step]
            rows = part["row"].to_numpy()
            load = data.counts[rows, position].sum(axis=0) / data.tokens[rows].sum()
            chance = float(load.sum()) / data.num_experts
            counts = part[["shared", "chosen"]].to_numpy(dtype=float)
            drawn = weights[:, places[rows]].astype(float) @ counts
            of_chosen = drawn[:, 0] / np.where(drawn[:, 1] > 0, drawn[:, 1], np.nan)
            last = of_chosen if last is None else last
            number = len(np.unique(places[rows]))
            low, high = interval(of_chosen, number)
            shared, chosen = counts.sum(axis=0)
            records.append(
                {
                    "step": step,
                    "layer": layer,
                    "saturation": shared / max(chosen, 1),
                    "low": float(low),
                    "high": float(high),
                    "chance": chance,
                    "load_chance": (load**2).sum() / max(load.sum(), 1e-12),
                    "rise_high": float(interval((last - of_chosen) / (1 - chance), number)[1]),
                    "choices": int(chosen),
                    "groups": number,
                    "documents": len(rows),
                }
            )
    columns = ["step", "layer", "saturation", "low", "high", "chance", "load_chance", "rise_high"]
    result = pd.DataFrame(records, columns=[*columns, "choices", "groups", "documents"])
    result = result.sort_values(["step", "layer"], ignore_index=True)
    wanted = result["chance"] + SETTLED * (1 - result["chance"])
    return result.assign(
        settled=_settled(result, (result["low"] >= wanted) & (result["rise_high"] <= PLATEAU)),
        moving=result["high"] < wanted,
    )


def _settled(frame: pd.DataFrame, near: pd.Series) -> np.ndarray:
    """Whether each row and all later ones of its layer are near the final choices."""
    later = near[::-1].groupby(frame["layer"][::-1]).cummin()
    settled: np.ndarray = later[::-1].to_numpy(dtype=bool)
    return settled


def settled_steps(frame: pd.DataFrame) -> dict[int, int | None]:
    """Layer → first snapshot from which it stays settled; None = of none that is sure."""
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
        routing_saturation(
            store.saturation, store.documents, run.documents, draws.weights, run.group_names
        )
    )
