"""Chooses the experts to knock out, and the documents whose loss is measured.

Experts are chosen by the routing of other documents than those whose loss is measured. Otherwise
an expert that favours a topic by the luck of these documents would also seem to matter for it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow.parquet as pq

from ..store.schema import DOCUMENTS_FILE

NUM_CONTROLS = 20  # of each layer that has a chosen expert, if it has so many others
NEAREST = 5  # a control is drawn among this many experts of the closest load
MIN_EVEN_SHARE = 0.25  # an expert below this part of an even share is too rare to be chosen


@dataclass(frozen=True)
class Knockout:
    """One expert that is knocked out.

    Attributes:
        layer: index on the L axis.
        kind: "chosen" for a topic, load-matched "control", or "other" (`knockout=all`).
        chosen_for: id of the topic that it was chosen for, else -1.
        load: its share of its layer's choices, topics weighted equally.
    """

    layer: int
    expert: int
    kind: Literal["chosen", "control", "other"]
    chosen_for: int
    load: float


def choose_measured(
    ranks: np.ndarray, topic_ids: np.ndarray, groups: np.ndarray, per_topic: int
) -> np.ndarray:
    """(D,) bool: the documents to measure, at most `per_topic` and of half of a topic's groups.

    The other groups choose the experts. One document of each group comes before a second of any:
    documents of one group count once.

    Args:
        ranks: (D,) drawn order of each topic's documents.
        topic_ids: (D,).
        groups: (D,) number of each document's group.
        per_topic: documents of a topic, at most.
    """
    measured = np.zeros(len(ranks), dtype=bool)
    for topic in np.unique(topic_ids):
        own = np.flatnonzero(topic_ids == topic)
        own = own[np.argsort(ranks[own], kind="stable")]
        _, first, place = np.unique(groups[own], return_index=True, return_inverse=True)
        order = np.argsort(np.argsort(first))[place]  # of the group, by its first document
        kept = order < len(first) // 2
        own, order = own[kept], order[kept]
        turn = np.zeros(len(own), dtype=np.int64)
        for group in np.unique(order):
            turn[order == group] = np.arange((order == group).sum())
        measured[own[np.lexsort((order, turn))[:per_topic]]] = True
    return measured


def choose_knockouts(
    counts_TLE: np.ndarray, per_topic: int, *, others: bool, generator: np.random.Generator
) -> list[Knockout]:
    """Chooses each topic's strongest experts and load-matched controls.

    Strength is the topic's share of choices over the mean share of all topics, half a choice added
    per cell. Controls lie in the layer of a chosen expert, 20 of each such layer: they are drawn
    without replacement, in turn for each chosen expert, among the `NEAREST` remaining ones of the
    closest load. Where these layers do not have 20 in all, other layers give the rest.

    Args:
        counts_TLE: choices of untouched tokens; topics without any, as those of which no
            document is measured, are left out.
        per_topic: chosen experts of a topic, over all layers.
        others: take all remaining experts, too.
        generator: draws the controls.
    """
    topics = np.flatnonzero(counts_TLE.any((1, 2)))
    counts = counts_TLE[topics] + 0.5
    shares = counts / counts.sum(-1, keepdims=True)
    load = shares.mean(0)  # (L, E)
    ratio = np.where(load >= MIN_EVEN_SHARE / load.shape[1], shares / load, 0.0)
    order = np.argsort(-ratio.reshape(len(topics), -1), axis=1, kind="stable")[:, :per_topic]
    pairs = [(int(t), int(cell)) for t, cells in zip(topics, order, strict=True) for cell in cells]
    taken = list(dict.fromkeys(cell for _, cell in pairs))
    rest = [cell for cell in range(load.size) if cell not in taken]
    controls: list[int] = []
    log_load, experts = np.log(load.ravel()), load.shape[1]

    def draw(wanted: Sequence[int], layers: Collection[int], number: int) -> None:
        for turn in range(number):
            near = [cell for cell in rest if cell // experts in layers]
            if not near:
                return
            aim = log_load[wanted[turn % len(wanted)]]
            near = sorted(near, key=lambda cell: abs(log_load[cell] - aim))[:NEAREST]
            controls.append(near[generator.integers(len(near))])
            rest.remove(controls[-1])

    for layer in sorted({cell // experts for cell in taken}):
        draw([cell for cell in taken if cell // experts == layer], {layer}, NUM_CONTROLS)
    draw(taken, range(load.shape[0]), NUM_CONTROLS - len(controls))

    def knockout(
        cell: int, kind: Literal["chosen", "control", "other"], chosen_for: int = -1
    ) -> Knockout:
        layer, expert = divmod(cell, load.shape[1])
        return Knockout(layer, expert, kind, chosen_for, float(load[layer, expert]))

    return [
        *(knockout(cell, "chosen", topic_id) for topic_id, cell in pairs),
        *(knockout(cell, "control") for cell in controls),
        *(knockout(cell, "other") for cell in rest if others),
    ]


def topic_counts(folder: Path, excluded: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Counts choices of untouched tokens (T, L, E) over the documents not in `excluded` (D,)."""
    counts = np.zeros((shape[0], shape[1] * shape[2]), dtype=np.int64)
    documents = pq.ParquetFile(folder / DOCUMENTS_FILE)
    columns = ["document", "topic_id", "expert_counts"]
    for part in documents.iter_batches(columns=columns):
        kept = ~excluded[part.column("document").to_numpy()]
        values = part.column("expert_counts").flatten().to_numpy().reshape(len(kept), -1)
        np.add.at(counts, part.column("topic_id").to_numpy()[kept], values[kept])
    return counts.reshape(shape)
