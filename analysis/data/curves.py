"""Training curves: metrics.jsonl as tidy frames."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ...configs.errors import UserError

CURVES = ("loss", "accuracy", "perplexity", "learning_rate", "tokens_per_s", "grad_norm")
LAYER_CURVES = ("max_violation", "router_entropy", "dead_experts", "drop_rate")


@dataclass(frozen=True)
class TrainingCurves:
    """What was logged during training.

    Attributes:
        curves: `split, step, tokens, metric, value`; losses in nats per labelled token, balance
            losses as "balance/<name>".
        layers: `split, step, tokens, layer, metric, value`.
        topics: `step, tokens, topic, loss, labels` (validation).
    """

    curves: pd.DataFrame
    layers: pd.DataFrame
    topics: pd.DataFrame


def read_training_curves(path: Path) -> TrainingCurves | None:
    """Reads metrics.jsonl; None when there is none (a model that others trained).

    Raises:
        UserError: a line is not JSON, or no record of a training.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text; rerun `moescope train`") from error
    records = []
    for position, line in enumerate(lines, start=1):
        try:
            records.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise UserError(
                f"{path}: line {position} is not JSON; rerun `moescope train`"
            ) from error
    try:
        return training_curves(records)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: not the metrics of a training ({error!r}); rerun `moescope train`"
        ) from error


def training_curves(records: Sequence[dict[str, Any]]) -> TrainingCurves:
    """Puts the records of metrics.jsonl (docs/contracts.md) into tidy frames."""
    curves, layers, topics = [], [], []
    for record in records:
        point = {"split": record["split"], "step": record["step"], "tokens": record.get("tokens")}
        values = {name: record.get(name) for name in CURVES}
        values |= {f"balance/{name}": x for name, x in (record.get("balance") or {}).items()}
        curves += [{**point, "metric": k, "value": x} for k, x in values.items() if x is not None]
        for layer in record.get("layers") or []:
            layers += [
                {**point, "layer": layer["layer"], "metric": name, "value": layer[name]}
                for name in LAYER_CURVES
                if layer.get(name) is not None
            ]
        topics += [
            {
                "step": record["step"],
                "tokens": record.get("tokens"),
                "topic": topic,
                "loss": values["loss"],
                "labels": values["tokens"],
            }
            for topic, values in (record.get("topics") or {}).items()
        ]
    point_columns = ["split", "step", "tokens"]
    return TrainingCurves(
        curves=pd.DataFrame(curves, columns=[*point_columns, "metric", "value"]),
        layers=pd.DataFrame(layers, columns=[*point_columns, "layer", "metric", "value"]),
        topics=pd.DataFrame(topics, columns=["step", "tokens", "topic", "loss", "labels"]),
    )
