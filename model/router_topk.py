"""Softmax top-k (Mixtral, OLMoE, Qwen3-MoE)."""

from typing import Any, ClassVar

from torch import Tensor

from .routing import Router, Routing, RoutingContext, mask_padding, refuse_silent_router


class TopKRouter(Router):
    """Top-k of a softmax over the experts.

    Parameters: `softmax` "before" (over all experts, then choose: OLMoE, Qwen3-MoE) or "after"
    (over the chosen logits: Mixtral's first form); `renormalise` divides the chosen weights by
    their sum. "before" with renormalisation equals "after" (softmax ratios do not change).
    """

    parameters_with_defaults: ClassVar[dict[str, Any]] = {"softmax": "before", "renormalise": True}

    @classmethod
    def check(cls, config: Any, settings: dict[str, Any]) -> None:
        if settings["softmax"] not in ("before", "after"):
            raise ValueError(f'router.softmax={settings["softmax"]!r} must be "before" or "after"')
        if settings["softmax"] == "after":
            refuse_silent_router(config, "router.softmax=after")
        if settings["renormalise"]:
            refuse_silent_router(config, "router.renormalise=true")

    def route(self, hidden_ND: Tensor, context: RoutingContext) -> Routing:
        logits = self.logits(hidden_ND)
        probabilities = logits.softmax(-1)
        if self.settings["softmax"] == "after":
            top_logits, ids = logits.topk(self.top_k, dim=-1)
            weights = top_logits.softmax(-1)
        else:
            weights, ids = probabilities.topk(self.top_k, dim=-1)
            if self.settings["renormalise"]:
                weights = weights / weights.sum(-1, keepdim=True)
        ids, weights = mask_padding(ids, weights, context, self.num_experts)
        return Routing(logits, probabilities, ids, weights)
