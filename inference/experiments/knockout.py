"""Knock-outs (E13): measures each document's loss while one expert must not be chosen."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ...configs.progress import console, progress_bar
from ...configs.schema_report import Route
from ...model.routing import Router
from ..recording.chunks import examples_of
from ..recording.forward import Observer
from ..recording.split import Split
from ..recording.tables import FIXED_POINT, TableSizes, to_fixed_point
from ..store.schema import KNOCKOUT_FIELDS, KNOCKOUT_FILE, KnockoutMode
from ..store.writer import write_frame
from .knockout_choice import Knockout, choose_knockouts, choose_measured, topic_counts


def write_knockouts(
    folder: Path, split: Split, observer: Observer, sizes: TableSizes, settings: Route, seed: int
) -> None:
    """Chooses knock-outs by the routing in the store `folder`, measures and writes them."""
    _, groups = np.unique(split.facts.documents["group"].to_pylist(), return_inverse=True)
    measured = choose_measured(split.ranks, split.topic_ids, groups, settings.knockout_documents)
    shape = (sizes.num_topics, sizes.num_layers, sizes.num_experts)
    counts = topic_counts(folder, measured, shape)
    counts[np.bincount(split.topic_ids[measured], minlength=sizes.num_topics) == 0] = 0
    knockouts = choose_knockouts(
        counts,
        settings.knockout_experts,
        others=settings.knockout == "all",
        generator=np.random.default_rng(seed),
    )
    changes = KnockoutLosses(observer, knockouts, measured)
    rows = split.by_length(examples_of(split.folder, measured))
    with progress_bar("route knock-outs", len(rows), "examples") as advance:
        for part, batch in split.batches(rows, settings.batch_size):
            changes.add(batch)
            advance(len(part))
    write_frame(changes.frame(), KNOCKOUT_FIELDS, folder / KNOCKOUT_FILE)


@contextmanager
def without_expert(router: Router, expert: int) -> Iterator[None]:
    """Sets the expert's logit (and balancing bias) to -inf, before the router chooses.

    Weights follow by the router's own rule, as if the expert did not exist.
    """
    logits, bias = router.logits, getattr(router, "bias", None)

    def masked(hidden_ND: Tensor) -> Tensor:
        scores = logits(hidden_ND)
        scores[:, expert] = -torch.inf
        return scores

    kept = None if bias is None else bias[expert].clone()
    router.logits = masked  # type: ignore[method-assign]
    if bias is not None:
        bias[expert] = -torch.inf
    try:
        yield
    finally:
        del router.logits
        if bias is not None:
            bias[expert] = kept


def learned_routers(network: nn.Module) -> list[Router]:
    """Lists the routers whose choice logits decide, in order of depth; [] for foreign models."""
    routers = [module for module in network.modules() if isinstance(module, Router)]
    return sorted((r for r in routers if r.weight is not None), key=lambda r: r.layer_idx)


def possible_knockout(network: nn.Module, wanted: KnockoutMode) -> KnockoutMode:
    """Returns `wanted`, or "none" for a model without learned routers, and prints why."""
    if wanted != "none" and not learned_routers(network):
        console.print(
            f"route: no knock-outs: {type(network).__name__} has no learned router of moescope's "
            "own (route.knockout=none silences this)",
            soft_wrap=True,
        )
        return "none"
    return wanted


class KnockoutLosses:
    """Sums the losses of the measured documents, with all experts and without each chosen one."""

    def __init__(
        self, observer: Observer, knockouts: Sequence[Knockout], measured: np.ndarray
    ) -> None:
        """Prepares the sums.

        Args:
            observer: the model.
            knockouts: may name one expert for several topics.
            measured: (D,) bool, the documents whose loss is measured.
        """
        self._observer, self._knockouts = observer, knockouts
        self._routers = learned_routers(observer.network)
        self._cells = list(dict.fromkeys((k.layer, k.expert) for k in knockouts))
        self._documents = np.flatnonzero(measured)
        count = len(self._documents)
        self._place_of = torch.full((len(measured),), count)  # the last place: not measured
        self._place_of[torch.from_numpy(self._documents)] = torch.arange(count)
        shape = (len(self._cells) + 1, count + 1)
        self._sums = torch.zeros(shape, dtype=torch.int64, device=observer.device)
        self._num_labels = torch.zeros(count + 1, dtype=torch.int64)

    @torch.inference_mode()
    def add(self, batch: Mapping[str, Tensor]) -> None:
        """Runs a batch as the collator made it, with all experts and without each chosen one."""
        places = self._place_of[batch["document_ids"].flatten()[batch["label_positions"]]]
        self._num_labels += torch.bincount(places, minlength=len(self._num_labels))
        places = places.to(self._sums.device, non_blocking=True)
        self._add_losses(0, batch, places)
        for row, (layer, expert) in enumerate(self._cells, start=1):
            with without_expert(self._routers[layer], expert):
                self._add_losses(row, batch, places)

    def frame(self) -> pd.DataFrame:
        """Returns one row per knock-out and measured document with labels (`KNOCKOUT_FIELDS`)."""
        labels = self._num_labels[:-1].numpy()
        kept = np.flatnonzero(labels)
        sums = self._sums.cpu().numpy()[:, kept]
        changes = (sums[1:] - sums[0]) / (labels[kept] * FIXED_POINT)
        change_of = dict(zip(self._cells, changes, strict=True))
        knocked = pd.DataFrame([vars(k) for k in self._knockouts]).loc[
            np.repeat(np.arange(len(self._knockouts)), len(kept))
        ]
        return knocked.assign(
            layer=[self._routers[index].layer_idx for index in knocked["layer"]],
            document=np.tile(self._documents[kept], len(self._knockouts)),
            loss_change=np.concatenate([change_of[k.layer, k.expert] for k in self._knockouts]),
            num_labels=np.tile(labels[kept], len(self._knockouts)),
        )

    def _add_losses(self, row: int, batch: Mapping[str, Tensor], places: Tensor) -> None:
        self._sums[row].scatter_add_(0, places, to_fixed_point(self._observer.losses(batch)))
