"""Metric sums that stay on the device over many batches, and the figures made from them.

N = batch x sequence rows, M = labelled rows, L = MoE layers, E = experts, k = experts per token.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..model import Routing
from ..model.loss import correct_sum


class MetricSums:
    """Running sums by name; nothing is read back to the host until `to_host`."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Adds one batch's sums, without their graph."""
        for name, value in values.items():
            value = value.detach()
            total = self._sums.get(name)
            if total is None:
                self._sums[name] = value.clone()
            else:
                total += value

    @property
    def is_empty(self) -> bool:
        return not self._sums

    def to_host(self, reduce: Callable[[Tensor], Tensor] | None) -> dict[str, np.ndarray]:
        """Returns all sums as float64 and starts again from nothing.

        Args:
            reduce: adds a tensor up over the processes; None with one process.
        """
        sums, self._sums = self._sums, {}
        if reduce is not None:
            sums = {name: reduce(value) for name, value in sums.items()}
        return {name: value.cpu().numpy().astype(np.float64) for name, value in sums.items()}


def language_sums(
    logits_MV: Tensor, targets_M: Tensor, topics_M: Tensor, num_topics: int, *, coarse: bool = False
) -> dict[str, Tensor]:
    """Loss (nats), labels and hits of one evaluation batch, in total and by topic (T,)."""
    losses = F.cross_entropy(logits_MV.float(), targets_M, reduction="none")
    per_topic = losses.new_zeros(num_topics)
    return {
        "loss": losses.sum(),
        "labels": targets_M.new_full((), len(targets_M)),
        "correct": correct_sum(logits_MV, targets_M, coarse=coarse),
        "topic_loss": per_topic.index_add(0, topics_M, losses),
        "topic_labels": per_topic.index_add(0, topics_M, torch.ones_like(losses)),
    }


@torch.no_grad()
def routing_sums(routings: Sequence[Routing], mask_BS: Tensor) -> dict[str, Tensor]:
    """Choices per expert, router entropy (nats) and drops of one batch, real tokens only.

    Returns:
        `choices` (L, E), `entropy` (L,), `dropped` (L,), `routed_tokens`; {} without MoE layers.
        A choice counts whether or not capacity dropped it; an id of E is no choice.
    """
    if not routings:
        return {}
    L, E = len(routings), routings[0].num_experts
    ids_LN = torch.stack([routing.expert_ids for routing in routings]).flatten(1)
    offsets = torch.arange(L, device=ids_LN.device)[:, None] * (E + 1)
    # scatter_add, not bincount: the latter reads its result's size back to the host
    slots = (ids_LN + offsets).flatten()
    choices = slots.new_zeros(L * (E + 1)).scatter_add_(0, slots, torch.ones_like(slots))
    mask_N = mask_BS.flatten()
    probabilities = torch.stack([routing.probabilities for routing in routings])  # (L, N, E)
    entropy_LN = -torch.xlogy(probabilities, probabilities).sum(-1)
    dropped = [
        mask_N.new_zeros(()) if routing.dropped is None else routing.dropped.sum()
        for routing in routings
    ]
    return {
        "choices": choices.view(L, E + 1)[:, :E],
        "entropy": entropy_LN @ mask_N.to(entropy_LN.dtype),
        "dropped": torch.stack(dropped),
        "routed_tokens": mask_N.sum(),
    }


def summarise_language(sums: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Loss in nats per label, accuracy, perplexity (capped at the largest float)."""
    labels = max(float(sums["labels"]), 1.0)
    loss = float(sums["loss"]) / labels
    return {
        "loss": loss,
        "accuracy": float(sums["correct"]) / labels,
        "perplexity": math.exp(min(loss, 700.0)),
    }


def summarise_layers(
    sums: Mapping[str, np.ndarray], layer_numbers: Sequence[int]
) -> list[dict[str, Any]]:
    """One record per MoE layer.

    `load` is each expert's share of the choices; `max_violation` is (max - mean) / mean of the
    load (MaxVio, arXiv 2408.15664), 0 at balance and E - 1 at collapse; a dead expert has none.
    """
    if "choices" not in sums:
        return []
    layers = []
    tokens = max(float(sums["routed_tokens"]), 1.0)
    for row, layer in enumerate(layer_numbers):
        choices = sums["choices"][row]
        total = max(float(choices.sum()), 1.0)
        load = choices / total
        layers.append(
            {
                "layer": layer,
                "load": load.tolist(),
                "max_violation": float(load.max() * len(load) - 1.0),
                "router_entropy": float(sums["entropy"][row]) / tokens,
                "dead_experts": int((choices == 0).sum()),
                "drop_rate": float(sums["dropped"][row]) / total,
            }
        )
    return layers


def summarise_topics(
    sums: Mapping[str, np.ndarray], topics: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Loss per label and number of labels of every topic that has labels."""
    return {
        topic: {"loss": float(loss / labels), "tokens": int(labels)}
        for topic, loss, labels in zip(
            topics, sums["topic_loss"], sums["topic_labels"], strict=True
        )
        if labels > 0
    }
