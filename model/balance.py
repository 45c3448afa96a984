"""Balance losses, each for one layer, over real tokens; the mean over layers is what is logged.

To add one: write a function of `LayerStatistics` in this file or a sibling, add it to
`BALANCE_LOSSES`. f_e is the share of choices that fell on expert e (no gradient), P_e
the mean probability of expert e.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.utils.generic import maybe_autocast

from .routing import Routing


class LayerStatistics(NamedTuple):
    """One layer's routing, reduced to what the losses need. N counts all rows, padding included."""

    routing: Routing
    mask: Tensor
    """(N,) float32, 1 at real tokens."""
    num_tokens: Tensor
    """Scalar float32, at least 1 (with scope "global" the mean over processes)."""
    load: Tensor
    """(E,) f_e, sums to 1; without gradient."""
    importance: Tensor
    """(E,) P_e, sums to 1."""
    experts: nn.Module | None
    """The layer's experts, for losses on their weights."""
    across: bool
    """Whether what is summed over tokens is summed over processes, too (scope "global")."""


def switch_loss(layer: LayerStatistics) -> Tensor:
    """E * sum_e f_e P_e (Switch, arXiv 2101.03961, eq. 4). 1 at perfect balance, at most E."""
    return layer.load.numel() * (layer.load * layer.importance).sum()


def gshard_loss(layer: LayerStatistics) -> Tensor:
    """E * sum_e f1_e P_e with f1 the share of *first* choices (GShard, arXiv 2006.16668, 2.2).

    The paper's mean over experts of (c_e / S) m_e, times E^2: 1 at perfect balance, at most E.
    """
    first = layer.routing._replace(expert_ids=layer.routing.expert_ids[:, :1], dropped=None)
    counts = _mean_over_processes(first.counts().float(), layer.across)
    share = counts / counts.sum().clamp(min=1e-10)
    return share.numel() * (share * layer.importance).sum()


def z_loss(layer: LayerStatistics) -> Tensor:
    """Mean of logsumexp(logits)^2 (ST-MoE, arXiv 2202.08906, eq. 5). log(E)^2 at zero logits."""
    squares = layer.routing.logits.logsumexp(-1).square()
    return (squares * layer.mask).sum() / layer.num_tokens


def _mean_over_processes(x: Tensor, across: bool) -> Tensor:
    """Return the mean of `x` over processes, with the gradient of this process's own part.

    Data parallelism averages gradients, so the processes' parts add up to the gradient of the loss
    on all their text.
    """
    distributed = torch.distributed
    if not (across and distributed.is_available() and distributed.is_initialized()):
        return x
    total = x.detach().clone()
    distributed.all_reduce(total)
    # the value is the mean, the gradient that of x: the bracket is a constant
    return x + (total / distributed.get_world_size() - x.detach())


def _squared_variation(x: Tensor) -> Tensor:
    return x.var(unbiased=False) / x.mean().square().clamp(min=1e-10)


def importance_loss(layer: LayerStatistics) -> Tensor:
    """CV^2 over experts of the summed weights (Shazeer, arXiv 1701.06538, eq. 7).

    0 at perfect balance, E - 1 when one expert gets everything.
    """
    routing = layer.routing
    total = routing.logits.new_zeros(routing.num_experts + 1)
    ids = routing.dispatched_ids().reshape(-1)
    total = total.scatter_add(0, ids, routing.weights.reshape(-1))[:-1]
    return _squared_variation(_mean_over_processes(total, layer.across))


def load_loss(layer: LayerStatistics) -> Tensor:
    """CV^2 over experts of the smooth load (Shazeer, appendix A). 0 at perfect balance.

    0 where the router has no smooth load: any but noisy top-k, and evaluation.
    """
    if layer.routing.load is None:
        return layer.importance.new_zeros(())
    return _squared_variation(_mean_over_processes(layer.routing.load, layer.across))


def entropy_loss(layer: LayerStatistics) -> Tensor:
    """log E - H(P), in nats. 0 at perfect balance, log E when one expert gets everything."""
    P = layer.importance
    return math.log(P.numel()) + torch.special.xlogy(P, P.clamp(min=1e-20)).sum()


def orthogonality_loss(layer: LayerStatistics) -> Tensor:
    """Mean over pairs of experts of the squared cosine between their `down_proj` weights.

    A diversity loss: 0 when all are orthogonal, 1 when all are parallel; 0 with one expert.
    After the orthogonality regularisers of OMoE (arXiv 2310.09762).
    """
    if layer.experts is None:
        raise ValueError('balance loss "orthogonality" needs `experts=model.expert_modules()`')
    flat = F.normalize(layer.experts.get_parameter("down_proj").flatten(1).float(), dim=-1)
    E = len(flat)
    cosines = flat @ flat.T
    squares = cosines.square().sum() - cosines.diagonal().square().sum()
    return squares / max(E * (E - 1), 1)


BalanceLoss = Callable[[LayerStatistics], Tensor]

BALANCE_LOSSES: dict[str, BalanceLoss] = {
    "switch": switch_loss,
    "gshard": gshard_loss,
    "z": z_loss,
    "importance": importance_loss,
    "load": load_loss,
    "entropy": entropy_loss,
    "orthogonality": orthogonality_loss,
}


def layer_statistics(
    routing: Routing, token_mask: Tensor | None, experts: nn.Module | None, *, across: bool
) -> LayerStatistics:
    """Reduce a layer; `token_mask` (B, S) or (N,) is not 0 at real tokens, None if all are."""
    if token_mask is None:
        mask = routing.logits.new_ones(len(routing.logits))
    else:
        mask = token_mask.reshape(-1).float()
    counts, E = routing.counts().float(), routing.num_experts
    mass = (routing.probabilities * mask[:, None]).sum(0)
    # one message for all three
    sums = _mean_over_processes(torch.cat([counts, mass, mask.sum()[None]]), across)
    counts, mass, num_tokens = sums[:E], sums[E:-1], sums[-1].clamp(min=1)
    load = counts / counts.sum().clamp(min=1e-10)
    return LayerStatistics(routing, mask, num_tokens, load, mass / num_tokens, experts, across)


def balance_losses(
    routings: Sequence[Routing],
    token_mask: Tensor | None,
    names: Sequence[str],
    *,
    experts: Sequence[nn.Module] | None = None,
    scope: Literal["local", "global"] = "local",
) -> dict[str, Tensor]:
    """Mean over layers of each named loss, over real tokens only, in float32 under any autocast.

    Args:
        routings: one record per MoE layer (`output.routing`).
        token_mask: the batch's attention mask; None = no padding.
        names: keys of `BALANCE_LOSSES`.
        experts: one module per MoE layer (`model.expert_modules()`), for "orthogonality".
        scope: under data parallelism, "local" balances each process's micro-batch by itself,
            which pushes every expert to serve every kind of text; "global" balances their tokens
            together, which lets experts specialise (arXiv 2501.11873): every loss and, once the
            processes' gradients are averaged, its gradient are those of one process with all the
            text. One small message per layer, and one more for each of "gshard", "importance" and
            "load".

    Returns:
        Scalars by name, unweighted; {} when there is no MoE layer.

    Raises:
        KeyError: a name that is not in `BALANCE_LOSSES`.
    """
    if not routings:
        return {}
    modules: Sequence[nn.Module | None] = experts or [None] * len(routings)
    with maybe_autocast(routings[0].logits.device.type, enabled=False):
        layers = [
            layer_statistics(routing, token_mask, module, across=scope == "global")
            for routing, module in zip(routings, modules, strict=True)
        ]
        return {
            name: torch.stack([BALANCE_LOSSES[name](layer) for layer in layers]).mean()
            for name in names
        }
