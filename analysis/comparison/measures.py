"""Numbers of each run for a comparison: quality, balance, topic information, form, similarity."""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ...configs.progress import progress_bar
from ...inference.store.reader import RoutingStore
from ..html.records import largest
from .matching import match_experts, run_similarity
from .runs import ComparedRun
from .seeds import ALPHA
from .settings import loss_groups, tokenizers

NOT_MEASURED = math.nan
PAIR = ["first", "second"]
LAYER_COLUMNS = (
    *("run", "layer", "topic_bits", "topic_share", "topic_low", "topic_high", "topic_p", "band"),
    *("beyond_p", "topic_entropy_share", "class_share", "token_share"),
    *("max_violation", "effective_experts", "dead_experts"),
)
SHORT = {
    "topic_information_bits": "topic_bits",
    "topic_information_share": "topic_share",
    "family_p_value": "topic_p",
    "beyond_p_value": "beyond_p",
}  # name in summary.json → column


def run_measures(runs: Sequence[ComparedRun]) -> pd.DataFrame:
    """One row per run.

    Returns:
        `run`; `validation_loss` (nats per label) and `loss_group` (letters: only losses of one
        letter are over the same labels), `probe_loss` and `probe_group` (the same of the routed
        documents), `below_unigram` (nats that the validation loss lies under the unigram entropy
        of its labels), `validation_accuracy`, `nats_per_byte` (validation loss × tokens per byte),
        `train_tokens`, `parameters`, `active_parameters`; of the layer with most topic information
        (of those where it is beyond chance, if there are such) `topic_layer`, `topic_bits`,
        `topic_share` (of log2 T), `topic_p` (family-wise over layers), `band`; there, too,
        `class_share`, `token_share` and `topic_entropy_share` (of the routing's entropy, explained
        by token class, token and topic); over all layers `beyond_p`
        (smallest family-wise p of topic beyond vocabulary), `max_violation` (largest),
        `effective_experts` (smallest), `dead_experts` (sum); `elapsed_s`. NaN or "" where a run
        has no such number.
    """
    trained, routed = loss_groups(runs, "train"), loss_groups(runs, "route")
    return pd.DataFrame(
        [
            {"run": run.name, "loss_group": trained[run.name], "probe_group": routed[run.name]}
            | _quality(run)
            | _routing(run)
            for run in runs
        ]
    )


def _quality(run: ComparedRun) -> dict[str, Any]:
    names = ["validation_loss", "validation_accuracy", "train_tokens"]
    names += ["parameters", "active_parameters"]
    row = {name: _number(run.count("train", name)) for name in names}
    row["below_unigram"] = _number(run.count("train", "unigram_entropy")) - row["validation_loss"]
    row["nats_per_byte"] = row["validation_loss"] * tokens_per_byte(run)
    row["probe_loss"] = probe_loss(run)
    return row


def _routing(run: ComparedRun) -> dict[str, Any]:
    names = ["topic_bits", "topic_share", "topic_p", "max_violation", "effective_experts"]
    names += ["dead_experts", "topic_entropy_share", "class_share", "token_share", "beyond_p"]
    row: dict[str, Any] = dict.fromkeys(names, NOT_MEASURED)
    row |= {"topic_layer": "", "band": "", "elapsed_s": _number(run.summary.get("elapsed_s"))}
    layers = layer_measures([run])
    measured = layers[layers.topic_share.notna()]
    if len(layers):
        row["max_violation"] = layers.max_violation.max()
        row["effective_experts"] = layers.effective_experts.min()
        row["dead_experts"] = layers.dead_experts.sum()
        row["beyond_p"] = layers.beyond_p.min()
    if len(measured):
        sure = measured[measured.topic_p <= ALPHA]
        top = largest(sure if len(sure) else measured, "topic_share")
        row |= {"topic_layer": str(top.layer), "band": top.band}
        for name in ("topic_bits", "topic_share", "topic_p"):
            row[name] = getattr(top, name)
        for name in ("topic_entropy_share", "class_share", "token_share"):
            row[name] = getattr(top, name)
    return row


def layer_measures(runs: Sequence[ComparedRun]) -> pd.DataFrame:
    """One row per run and layer: `run, layer`, and every number that chapters give of layers.

    Those known here: `topic_bits, topic_share, topic_low, topic_high` (95% interval of the share),
    `topic_p` (family-wise), `band`, `beyond_p` (topic beyond vocabulary, family-wise),
    `topic_entropy_share, class_share, token_share` (of the routing's entropy), `max_violation,
    effective_experts, dead_experts`; after them those of other chapters, such as a plugin's.
    """
    table = [_layer(run, layer) for run in runs for layer in run.summary.get("layers", [])]
    others = dict.fromkeys(name for row in table for name in row if name not in LAYER_COLUMNS)
    return pd.DataFrame(table, columns=[*LAYER_COLUMNS, *others])


def _layer(run: ComparedRun, layer: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of one layer in a run's summary, under the names of `LAYER_COLUMNS`."""
    row: dict[str, Any] = dict.fromkeys(LAYER_COLUMNS, NOT_MEASURED)
    row |= {"run": run.name, "layer": layer["layer"], "band": layer.get("band") or ""}
    for name, value in layer.items():
        if name not in ("layer", "p_value") and isinstance(value, int | float):
            row[SHORT.get(name, name)] = float(value)
    bits, share = row["topic_bits"], row["topic_share"]
    scale = share / bits if bits else NOT_MEASURED  # shares of log2 T per bit
    low, high = layer.get("topic_information_interval_bits") or (None, None)
    return row | {"topic_low": _number(low) * scale, "topic_high": _number(high) * scale}


def _number(value: Any) -> float:
    return NOT_MEASURED if value is None else float(value)


def tokens_per_byte(run: ComparedRun) -> float:
    """Content tokens per UTF-8 byte of the run's validation documents; NaN without its dataset."""
    folder = run.folders.get("mask", Path())
    try:
        table = pq.read_table(
            folder / "documents-validation.parquet", columns=["num_tokens", "num_bytes"]
        )
    except (OSError, pa.ArrowInvalid):
        return NOT_MEASURED
    sums = table.to_pandas().sum()
    return float(sums.num_tokens / sums.num_bytes) if sums.num_bytes else NOT_MEASURED


def probe_loss(run: ComparedRun) -> float:
    """Mean loss over the labels of the routed documents, nats; NaN without labels or store."""
    if run.store is None:
        return NOT_MEASURED
    documents = run.store.documents
    labels = documents.num_labels.sum()
    return float((documents.loss * documents.num_labels).sum() / labels) if labels else math.nan


def curve_measures(runs: Sequence[ComparedRun]) -> pd.DataFrame:
    """Training curves of all runs: `run, split, step, tokens, metric, value` with `metric` loss,
    accuracy or max_violation (the largest over layers)."""
    frames = []
    for run in runs:
        if run.curves is None:
            continue
        curves = run.curves.curves
        own = curves[curves.metric.isin(["loss", "accuracy"])]
        layers = run.curves.layers[run.curves.layers.metric == "max_violation"]
        keys = ["split", "step", "tokens", "metric"]
        worst = layers.groupby(keys, sort=False).value.max().reset_index()
        frames.append(pd.concat([own, worst], ignore_index=True).assign(run=run.name))
    columns = ["run", "split", "step", "tokens", "metric", "value"]
    return (
        pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)
    )


def similarities(
    runs: Sequence[ComparedRun], generator: np.random.Generator, permutations: int
) -> pd.DataFrame:
    """How alike every two runs route: `first, second` and the columns of
    `matching.run_similarity`, a row per pair and common layer; `same_tokenizer`."""
    hashes = tokenizers(runs)
    frames = []
    pairs = list(combinations(_stores(runs), 2))
    with progress_bar("compare routing", len(pairs), "pairs") as advance:
        for (first, store), (second, other) in pairs:
            frame = run_similarity(store, other, generator, permutations)
            same = hashes[first] == hashes[second] != "None"
            frames.append(frame.assign(first=first, second=second, same_tokenizer=same))
            advance()
    return _stacked(frames)


def matched_experts(
    runs: Sequence[ComparedRun], generator: np.random.Generator, permutations: int
) -> pd.DataFrame:
    """Which expert of each run is which of the first run's: `first, second` and the columns of
    `matching.match_experts`, a row per matched pair."""
    stores = _stores(runs)
    return _stacked(
        [
            match_experts(stores[0][1], other, generator, permutations).assign(
                first=stores[0][0], second=second
            )
            for second, other in stores[1:]
        ]
    )


def _stores(runs: Sequence[ComparedRun]) -> list[tuple[str, RoutingStore]]:
    return [(run.name, run.store) for run in runs if run.store is not None]


def _stacked(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Puts frames of pairs one below the other, the pair's names first."""
    kept = [frame for frame in frames if len(frame)]
    if not kept:
        return pd.DataFrame(columns=[*PAIR, "layer"])
    frame = pd.concat(kept, ignore_index=True)
    return frame[[*PAIR, *(name for name in frame.columns if name not in PAIR)]]
