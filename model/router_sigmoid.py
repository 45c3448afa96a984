"""Sigmoid scores with loss-free balancing (DeepSeek-V3)."""

from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import initialization as init

from .routing import (
    Router,
    Routing,
    RoutingContext,
    check_range,
    mask_padding,
    refuse_silent_router,
)


class SigmoidRouter(Router):
    """Top-k of sigmoid scores plus a bias that only the choice sees.

    Loss-free balancing (arXiv 2408.15664; DeepSeek-V3, arXiv 2412.19437): after each optimizer
    step every expert's bias moves by `bias_update_rate` towards the balanced load, up when it got
    fewer tokens than the mean, down when more. The bias is a buffer of the checkpoint; the
    weights are the scores without it, renormalised over the chosen if `renormalise`, times
    `scaling`. `probabilities` are the scores divided by their sum.
    """

    parameters_with_defaults: ClassVar[dict[str, Any]] = {
        "renormalise": True,
        "scaling": 1.0,
        "bias_update_rate": 0.001,
    }
    bias: Tensor
    tokens_per_expert: Tensor

    def __init__(self, config: Any, layer_idx: int) -> None:
        super().__init__(config, layer_idx)
        self.register_buffer("bias", torch.zeros(config.num_experts))
        # chosen slots since the last optimizer step; whole numbers in a model of any dtype
        counts = torch.zeros(config.num_experts, dtype=torch.int64)
        self.register_buffer("tokens_per_expert", counts, persistent=False)

    @classmethod
    def check(cls, config: Any, settings: dict[str, Any]) -> None:
        check_range(settings, "bias_update_rate", 0, None)
        check_range(settings, "scaling", 0, None)
        if settings["renormalise"]:
            refuse_silent_router(config, "router.renormalise=true")

    def init_buffers(self) -> None:
        init.zeros_(self.bias)
        init.zeros_(self.tokens_per_expert)

    def route(self, hidden_ND: Tensor, context: RoutingContext) -> Routing:
        logits = self.logits(hidden_ND)
        scores = logits.sigmoid()
        ids = (scores.detach() + self.bias).topk(self.top_k, dim=-1).indices
        weights = scores.gather(-1, ids)
        if self.settings["renormalise"]:
            weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
        ids, weights = mask_padding(
            ids, weights * self.settings["scaling"], context, self.num_experts
        )
        probabilities = scores / scores.sum(-1, keepdim=True).clamp(min=1e-20)
        routing = Routing(logits, probabilities, ids, weights)
        if self.training:
            self.tokens_per_expert += routing.counts()
        return routing

    @torch.no_grad()
    def after_optimizer_step(self) -> None:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(self.tokens_per_expert)
        # E times (mean - count): the sign of a difference of whole numbers is exact
        shortfall = self.tokens_per_expert.sum() - self.num_experts * self.tokens_per_expert
        self.bias += self.settings["bias_update_rate"] * shortfall.sign()
        self.tokens_per_expert.zero_()
