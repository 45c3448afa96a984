"""Saturation (E14): measures how much of the final routing each snapshot of a run already shows.

It is the share of a token's finally chosen experts that the snapshot chose too, as in OLMoE (arXiv
2409.02060, section 5.1). By chance it is the number of experts per token over E.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...configs.progress import progress_bar
from ...configs.schema_report import Route
from ...data_processors.mask_kinds import MaskKind
from ..checkpoints.load_checkpoint import load_model
from ..recording.capture import RoutingCapture
from ..recording.chunks import examples_of
from ..recording.forward import Observer
from ..recording.recorder import real_positions
from ..recording.split import Split
from ..store.schema import SATURATION_FIELDS, SATURATION_FILE
from ..store.writer import write_frame


def write_saturation(
    folder: Path, split: Split, observer: Observer, snapshots: Mapping[int, Path], settings: Route
) -> None:
    """Compares each snapshot's choices with the final model's on the same documents.

    Args:
        folder: the store, which gets a saturation.parquet.
        split: `route.snapshot_documents` documents of each of its topics are compared.
        observer: the final model.
        snapshots: step → checkpoint.
        settings: the `route` section.
    """
    measured = split.ranks < settings.snapshot_documents
    rows = split.by_length(examples_of(split.folder, measured))
    batches = [batch for _, batch in split.batches(rows, settings.batch_size)]
    documents = np.concatenate([_documents(batch)[_kept(batch, measured)] for batch in batches])
    final, layers = _choices(observer, batches, measured), observer.layers
    frames = []
    with progress_bar("route snapshots", len(snapshots), "snapshots") as advance:
        for step, path in snapshots.items():
            network = load_model(str(path), observer.device)
            with RoutingCapture(network) as capture:
                early = _choices(Observer(network, capture, observer.device), batches, measured)
            shared, chosen = shared_choices(final, early, capture.num_experts)
            frames.append(_by_document(shared, chosen, documents, layers).assign(step=step))
            advance()
    write_frame(pd.concat(frames), SATURATION_FIELDS, folder / SATURATION_FILE)


def shared_choices(
    final: np.ndarray, early: np.ndarray, num_experts: int
) -> tuple[np.ndarray, np.ndarray]:
    """Counts by token and layer how many of the finally chosen experts were chosen early, too.

    Args:
        final: (N, L, k) experts; `num_experts` = slot not executed.
        early: the same of a snapshot.
        num_experts: E.

    Returns:
        Shared choices and final choices, both (N, L).
    """
    executed = final < num_experts
    shared = (final[..., :, None] == early[..., None, :]).any(-1) & executed
    return shared.sum(-1), executed.sum(-1)


def _choices(
    observer: Observer, batches: Sequence[Mapping[str, Tensor]], measured: np.ndarray
) -> np.ndarray:
    """Returns the experts (N, L, k) int16 of the measured documents' untouched tokens."""
    chosen = []
    for batch in batches:
        kept = torch.from_numpy(_kept(batch, measured)).to(observer.device)
        chosen.append(observer(batch).experts[kept].short().cpu().numpy())
    return np.concatenate(chosen)


def _documents(batch: Mapping[str, Tensor]) -> np.ndarray:
    return batch["document_ids"].flatten()[real_positions(batch)].numpy()


def _kept(batch: Mapping[str, Tensor], measured: np.ndarray) -> np.ndarray:
    kinds = batch["mask_kind"].flatten()[real_positions(batch)].numpy()
    return np.flatnonzero((kinds == MaskKind.UNTOUCHED) & measured[_documents(batch)])


def _by_document(
    shared: np.ndarray, chosen: np.ndarray, documents: np.ndarray, layers: list[int]
) -> pd.DataFrame:
    names, place = np.unique(documents, return_inverse=True)
    sums = np.zeros((2, len(names), len(layers)), dtype=np.int64)
    for total, counts in zip(sums, (shared, chosen), strict=True):
        np.add.at(total, place, counts)
    return pd.DataFrame(
        {
            "layer": np.tile(layers, len(names)),
            "document": np.repeat(names, len(layers)),
            "shared": sums[0].ravel(),
            "chosen": sums[1].ravel(),
        }
    )
