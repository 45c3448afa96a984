"""Measures each document's loss under every value of the masked router's column (E15).

Each document is run once per value, as if its metadata were that value.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from transformers import PreTrainedConfig

from ...configs.progress import console, progress_bar
from ...data_processors.metadata_values import value_names
from ..recording.forward import Observer
from ..recording.split import Split
from ..recording.tables import FIXED_POINT, to_fixed_point
from ..store.schema import METADATA_VALUE_FIELDS, METADATA_VALUES_FILE
from ..store.writer import write_frame


def known_values(architecture: PreTrainedConfig) -> list[str]:
    """Names the values that a masked router knows, in order; [] for any other model."""
    router = getattr(architecture, "router", None) or {}
    return value_names(router) if router.get("name") == "masked" else []


def write_metadata_losses(
    folder: Path, split: Split, observer: Observer, names: list[str], batch_size: int
) -> None:
    """Measures every document under every value, writes the losses and prints perplexities.

    Args:
        folder: the store.
        split: the documents; its examples carry the number of their own value.
        observer: the model.
        names: the values' names, in order.
        batch_size: examples per forward pass.
    """
    own = split.examples.metadata_ids
    assert own is not None, "the model has a masked router"
    order = split.by_length(np.arange(len(split.examples)))
    count = len(own)
    sums = torch.zeros((len(names), count), dtype=torch.int64, device=observer.device)
    num_labels = torch.zeros(count, dtype=torch.int64)
    with progress_bar("route metadata values", len(order), "examples") as advance:
        for rows, batch in split.batches(order, batch_size):
            documents = batch["document_ids"].flatten()[batch["label_positions"]]
            num_labels += torch.bincount(documents, minlength=count)
            places = documents.to(observer.device, non_blocking=True)
            for given in range(len(names)):
                chosen = torch.full_like(batch["document_ids"], given)
                losses = observer.losses({**batch, "metadata_ids": chosen})
                sums[given].scatter_add_(0, places, to_fixed_point(losses))
            advance(len(rows))
    frame = _frame(own, sums.cpu().numpy(), num_labels.numpy())
    write_frame(frame, METADATA_VALUE_FIELDS, folder / METADATA_VALUES_FILE)
    _print_matrix(frame, names)


def perplexity_matrix(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns the perplexity by given value (rows) and the documents' own value (columns).

    It is exp of the mean loss over labels, so a document weighs by its number of labels.
    """
    weighted = frame.assign(total=frame["loss"] * frame["num_labels"])
    sums = weighted.groupby(["given", "own"])[["total", "num_labels"]].sum()
    means: pd.Series = sums["total"] / sums["num_labels"]
    return means.map(np.exp).unstack("own")


def _frame(own: np.ndarray, sums: np.ndarray, num_labels: np.ndarray) -> pd.DataFrame:
    kept = np.flatnonzero(num_labels)
    num_values = len(sums)
    return pd.DataFrame(
        {
            "document": np.tile(kept, num_values),
            "own": np.tile(own[kept], num_values),
            "given": np.repeat(np.arange(num_values), len(kept)),
            "loss": (sums[:, kept] / (num_labels[kept] * FIXED_POINT)).ravel(),
            "num_labels": np.tile(num_labels[kept], num_values),
        }
    )


def _print_matrix(frame: pd.DataFrame, names: list[str]) -> None:
    matrix = perplexity_matrix(frame)
    console.print("route: perplexity by chosen value (rows) and the text's own value (columns)")
    shown = matrix.rename(index=names.__getitem__, columns=names.__getitem__)
    shown = shown.rename_axis(index=None, columns=None)
    for line in shown.to_string(float_format="{:,.1f}".format).splitlines():
        console.print(line, markup=False, highlight=False, soft_wrap=True)
