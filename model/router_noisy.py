"""Noisy top-k gating (Shazeer et al., arXiv 1701.06538)."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .routing import Router, Routing, RoutingContext, mask_padding, refuse_silent_router


class NoisyTopKRouter(Router):
    """Gaussian noise of a learned, input-dependent size is added to the logits in training.

    H = x W + N(0, 1) softplus(x W_noise); softmax over the k largest of H (eq. 3 to 5). No noise in
    evaluation. `Routing.load` is the paper's smooth load (appendix A): for each expert, the
    probability that it stays in the top k when its own noise is drawn again, summed over tokens;
    the balance loss "load" uses it.
    """

    def __init__(self, config: Any, layer_idx: int) -> None:
        super().__init__(config, layer_idx)
        self.noise_weight = nn.Parameter(torch.empty(config.num_experts, config.hidden_size))

    @classmethod
    def check(cls, config: Any, settings: dict[str, Any]) -> None:
        refuse_silent_router(config, 'router "noisy_topk" (softmax over the chosen)')

    def route(self, hidden_ND: Tensor, context: RoutingContext) -> Routing:
        logits = self.logits(hidden_ND)
        if self.training:
            deviation = F.softplus(F.linear(hidden_ND, self.noise_weight.float()))
            noisy = logits + torch.randn_like(logits) * deviation
        else:
            noisy, deviation = logits, None
        # one more than k: the threshold for an expert that is inside the top k
        top = noisy.topk(min(self.top_k + 1, self.num_experts), dim=-1)
        ids = top.indices[:, : self.top_k]
        weights = top.values[:, : self.top_k].softmax(-1)
        load = None
        if deviation is not None and self.top_k < self.num_experts:
            load = self._smooth_load(logits, noisy, deviation, top.values, context)
        ids, weights = mask_padding(ids, weights, context, self.num_experts)
        return Routing(logits, noisy.softmax(-1), ids, weights, load=load)

    def _smooth_load(
        self,
        logits: Tensor,
        noisy: Tensor,
        deviation: Tensor,
        top_values: Tensor,
        context: RoutingContext,
    ) -> Tensor:
        """(E,) sum over real tokens of Phi((x W - threshold) / deviation)."""
        # an expert inside the top k stays while it beats the (k+1)-th value, one outside of it
        # enters once it beats the k-th
        inside = noisy > top_values[:, -1:]
        threshold = torch.where(inside, top_values[:, -1:], top_values[:, -2:-1])
        # 1e-6: softplus underflows to 0 for very negative inputs
        z = (logits - threshold) / (deviation + 1e-6)
        stays = torch.special.ndtr(z)
        if context.token_mask is not None:
            stays = stays * context.token_mask[:, None]
        return stays.sum(0)
