"""Expert choice (Zhou et al., arXiv 2202.09368): experts pick tokens, encoders only."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from .routing import Router, Routing, RoutingContext


class ExpertChoiceRouter(Router):
    """Each expert takes the tokens with its highest scores, so the load is perfectly balanced.

    An expert takes floor(k * tokens / E) of a group's real tokens (at least one), by softmax
    score; a token may get none or all experts. Groups (`choose_per`) are each sequence, so that a
    document's routing does not depend on its batch, or the whole batch, as in the paper. The
    record has E slots a row: slot e holds e where expert e took the row, else the id E.
    """

    parameters_with_defaults: ClassVar[dict[str, Any]] = {"choose_per": "sequence"}

    @classmethod
    def check(cls, config: Any, settings: dict[str, Any]) -> None:
        if config.is_causal:
            raise ValueError(
                'router "expert_choice" cannot serve a causal model: which tokens an expert takes '
                "depends on later tokens, which leaks the future. Choose topk, switch or sigmoid"
            )
        if settings["choose_per"] not in ("sequence", "batch"):
            raise ValueError(
                f'router.choose_per={settings["choose_per"]!r} must be "sequence" or "batch"'
            )

    def route(self, hidden_ND: Tensor, context: RoutingContext) -> Routing:
        logits = self.logits(hidden_ND)
        probabilities = logits.softmax(-1)
        N, E = logits.shape
        groups = context.batch_size if self.settings["choose_per"] == "sequence" else 1
        scores = probabilities.detach()
        tokens = torch.full((groups,), N // groups, device=logits.device)
        if context.token_mask is not None:
            scores = scores.masked_fill(~context.token_mask[:, None], -1.0)
            tokens = context.token_mask.view(groups, -1).sum(1)
        capacity = (self.top_k * tokens // E).clamp(min=1).minimum(tokens)
        order = scores.view(groups, -1, E).argsort(dim=1, descending=True, stable=True)
        # inverse of `order`: rank of each token among those of its group, by expert (G, S, E)
        rank = torch.empty_like(order)
        places = torch.arange(order.shape[1], device=order.device)[None, :, None]
        rank.scatter_(1, order, places.expand_as(order))
        taken = (rank < capacity[:, None, None]).view(N, E)
        ids = torch.arange(E, device=logits.device).expand(N, E).masked_fill(~taken, E)
        weights = probabilities.masked_fill(~taken, 0.0)
        return Routing(logits, probabilities, ids, weights)
