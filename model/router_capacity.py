"""Routers with a capacity: Switch (top-1) and GShard (top-2, random second expert)."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from .routing import Router, Routing, RoutingContext, check_range, mask_padding, over_capacity


def _check_capacity(settings: dict[str, Any]) -> None:
    check_range(settings, "capacity_factor", 0, None)
    check_range(settings, "eval_capacity_factor", 0, None)
    if settings["capacity_per"] not in ("batch", "sequence"):
        raise ValueError(
            f'router.capacity_per={settings["capacity_per"]!r} must be "batch" or "sequence"'
        )


class _CapacityRouter(Router):
    def finish(self, logits: Tensor, ids: Tensor, weights: Tensor, ctx: RoutingContext) -> Routing:
        """Drop padding, then what exceeds capacity."""
        ids, weights = mask_padding(ids, weights, ctx, self.num_experts)
        factor = self.settings["capacity_factor" if self.training else "eval_capacity_factor"]
        dropped = None
        if factor is not None:
            per = self.settings["capacity_per"]
            dropped = over_capacity(ids, ctx, self.num_experts, factor, per)
            weights = weights.masked_fill(dropped, 0.0)
        return Routing(logits, logits.softmax(-1), ids, weights, dropped)


class SwitchRouter(_CapacityRouter):
    """Switch Transformer, arXiv 2101.03961: the best expert, weighted by its probability.

    Parameters: `jitter` e multiplies the gate's input by U(1-e, 1+e) in training;
    `capacity_factor` / `eval_capacity_factor` limit the tokens of an expert to that many times
    its balanced share (None = no limit; dropped tokens pass through the residual);
    `capacity_per` "batch" or "sequence".
    """

    parameters_with_defaults: ClassVar[dict[str, Any]] = {
        "jitter": 0.0,
        "capacity_factor": None,
        "eval_capacity_factor": None,
        "capacity_per": "batch",
    }

    @classmethod
    def check(cls, config: Any, settings: dict[str, Any]) -> None:
        if config.num_experts_per_tok != 1:
            raise ValueError(
                f'router "switch" takes one expert per token; num_experts_per_tok='
                f"{config.num_experts_per_tok} (set it to 1, or choose router gshard or topk)"
            )
        check_range(settings, "jitter", 0, 1)
        _check_capacity(settings)

    def route(self, hidden_ND: Tensor, context: RoutingContext) -> Routing:
        jitter = self.settings["jitter"]
        if self.training and jitter:
            noise = torch.empty_like(hidden_ND).uniform_(1 - jitter, 1 + jitter)
            hidden_ND = hidden_ND * noise
        logits = self.logits(hidden_ND)
        weights, ids = logits.softmax(-1).max(-1, keepdim=True)
        return self.finish(logits, ids, weights, context)


class GShardRouter(_CapacityRouter):
    """GShard, arXiv 2006.16668: two experts, the second kept with probability 2 x its weight.

    The two weights are normalised to sum to 1; in training the second expert is dispatched when
    2 g2 > U(0, 1) (the paper's algorithm 1), in evaluation always. A second expert that is not
    dispatched has the id E. Capacity parameters as in Switch, local to each sequence by default.
    """

    parameters_with_defaults: ClassVar[dict[str, Any]] = {
        "random_second": True,
        "capacity_factor": None,
        "eval_capacity_factor": None,
        "capacity_per": "sequence",
    }

    @classmethod
    def check(cls, config: Any, settings: dict[str, Any]) -> None:
        if config.num_experts_per_tok != 2:
            raise ValueError(
                f'router "gshard" takes two experts per token; num_experts_per_tok='
                f"{config.num_experts_per_tok} (set it to 2, or choose router switch or topk)"
            )
        _check_capacity(settings)

    def route(self, hidden_ND: Tensor, context: RoutingContext) -> Routing:
        logits = self.logits(hidden_ND)
        weights, ids = logits.softmax(-1).topk(2, dim=-1)
        weights = weights / weights.sum(-1, keepdim=True)
        if self.training and self.settings["random_second"]:
            second = weights[:, 1:].detach()
            skip = torch.rand_like(second) >= 2 * second
            skip = torch.cat([torch.zeros_like(skip), skip], -1)
            ids = ids.masked_fill(skip, self.num_experts)
            weights = weights.masked_fill(skip, 0.0)
        return self.finish(logits, ids, weights, context)
