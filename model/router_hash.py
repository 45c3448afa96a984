"""Routing without learning: the null that a study of specialisation needs."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from .routing import Router, Routing, RoutingContext, mask_padding

# odd and below 2^62, so that they are int64; products wrap, which is what mixing wants
_MULTIPLIERS = (0x1E3779B97F4A7C15, 0x3F58476D1CE4E5B9, 0x14D049BB133111EB)


def _mix(x: Tensor) -> Tensor:
    """Scatter the bits of an int64 tensor.

    In the manner of SplitMix64's finaliser (Steele et al. 2014), for torch's signed integers: other
    multipliers, and shifts that repeat the sign. `configs.splitmix` has the original.
    """
    x = (x ^ (x >> 30)) * _MULTIPLIERS[1]
    x = (x ^ (x >> 27)) * _MULTIPLIERS[2]
    return x ^ (x >> 31)


class HashRouter(Router):
    """Each expert's score is a hash, the k highest win, with equal weights 1/k.

    `key` "token": of the token id (Hash Layers, arXiv 2106.04426), the same experts wherever a
    token stands. "random": of token id and position, so assignment carries no information on
    topic, yet is the same in every run. `seed` gives another assignment; layers differ always.
    There is no gate and nothing to train; logits are 0 and probabilities are the assignment.
    """

    parameters_with_defaults: ClassVar[dict[str, Any]] = {"key": "token", "seed": 0}

    def __init__(self, config: Any, layer_idx: int) -> None:
        super().__init__(config, layer_idx)
        self.weight = None

    @classmethod
    def check(cls, config: Any, settings: dict[str, Any]) -> None:
        if settings["key"] not in ("token", "random"):
            raise ValueError(f'router.key={settings["key"]!r} must be "token" or "random"')
        if not isinstance(settings["seed"], int):
            raise ValueError(f"router.seed={settings['seed']!r} must be a whole number")

    def route(self, hidden_ND: Tensor, context: RoutingContext) -> Routing:
        if context.input_ids is None:
            raise ValueError('router "hash" needs input_ids; inputs_embeds alone cannot be hashed')
        E = self.num_experts
        keys = context.input_ids.long()
        if self.settings["key"] == "random" and context.position_ids is not None:
            keys = _mix(keys + _MULTIPLIERS[0] * (context.position_ids + 1))
        salt = _MULTIPLIERS[0] * (self.settings["seed"] * 1009 + self.layer_idx + 1)
        salt = (salt + 2**63) % 2**64 - 2**63
        experts = torch.arange(1, E + 1, device=keys.device)
        scores = _mix(_mix(keys[:, None] + salt) + _MULTIPLIERS[0] * experts)
        ids = scores.topk(self.top_k, dim=-1).indices
        weights = hidden_ND.new_full(ids.shape, 1 / self.top_k, dtype=torch.float32)
        logits = weights.new_zeros(len(ids), E)
        probabilities = logits.scatter(-1, ids, weights)
        ids, weights = mask_padding(ids, weights, context, E)
        return Routing(logits, probabilities, ids, weights)
