"""Balance losses, each for one layer, over real tokens; the mean over layers is what is logged.

To add one: write a function of `LayerStatistics` in this file or a sibling, add it to
`BALANCE_LOSSES`. f_e is the share of executed choices that fell on expert e (no gradient), P_e
the mean probability of expert e.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .routing import Routing


class LayerStatistics(NamedTuple):
    """One layer's routing, reduced to what the losses need. N counts all rows, padding included."""

    routing: Routing
    mask: Tensor
    """(N,) float32, 1 at real tokens."""
    num_tokens: Tensor
    """Scalar float32, at least 1."""
    load: Tensor
    """(E,) f_e, sums to 1; without gradient."""
    importance: Tensor
    """(E,) P_e, sums to 1."""


def switch_loss(layer: LayerStatistics) -> Tensor:
    """E * sum_e f_e P_e (Switch, arXiv 2101.03961, eq. 4). 1 at perfect balance, at most E."""
    return layer.load.numel() * (layer.load * layer.importance).sum()


def gshard_loss(layer: LayerStatistics) -> Tensor:
    """E * sum_e f1_e P_e with f1 the share of *first* choices (GShard, arXiv 2006.16668, 2.2).

    The paper's mean over experts of (c_e / S) m_e, times E^2: 1 at perfect balance, at most E.
    """
    first = layer.routing._replace(expert_ids=layer.routing.expert_ids[:, :1], dropped=None)
    counts = first.counts()
    share = counts / counts.sum().clamp(min=1)
    return share.numel() * (share * layer.importance).sum()


def z_loss(layer: LayerStatistics) -> Tensor:
    """Mean of logsumexp(logits)^2 (ST-MoE, arXiv 2202.08906, eq. 5). log(E)^2 at zero logits."""
    squares = layer.routing.logits.logsumexp(-1).square()
    return (squares * layer.mask).sum() / layer.num_tokens


BALANCE_LOSSES: dict[str, Callable[[LayerStatistics], Tensor]] = {
    "switch": switch_loss,
    "gshard": gshard_loss,
    "z": z_loss,
}


def layer_statistics(routing: Routing, token_mask: Tensor | None) -> LayerStatistics:
    """Reduce a layer; `token_mask` (B, S) or (N,), non-zero at real tokens, None = all real."""
    N = routing.logits.shape[0]
    if token_mask is None:
        mask = routing.logits.new_ones(N)
    else:
        mask = token_mask.reshape(-1).to(routing.logits.dtype)
    num_tokens = mask.sum().clamp(min=1)
    counts = routing.counts().detach()
    load = counts / counts.sum().clamp(min=1)
    importance = (routing.probabilities * mask[:, None]).sum(0) / num_tokens
    return LayerStatistics(routing, mask, num_tokens, load, importance)


def balance_losses(
    routings: Sequence[Routing], token_mask: Tensor | None, names: Sequence[str]
) -> dict[str, Tensor]:
    """Mean over layers of each named loss, over real tokens only.

    Args:
        routings: one record per MoE layer (`output.routing`).
        token_mask: the batch's attention mask; None = no padding.
        names: keys of `BALANCE_LOSSES`.

    Returns:
        Scalars by name, unweighted; {} when there is no MoE layer.

    Raises:
        KeyError: a name that is not in `BALANCE_LOSSES`.
    """
    if not routings:
        return {}
    layers = [layer_statistics(routing, token_mask) for routing in routings]
    return {
        name: torch.stack([BALANCE_LOSSES[name](layer) for layer in layers]).mean()
        for name in names
    }
