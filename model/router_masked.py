"""Routing masked by document metadata: a year, a topic, any column."""

from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import initialization as init

from .routing import Router, Routing, RoutingContext, mask_padding, refuse_silent_router


class MaskedRouter(Router):
    """Softmax top-k over the experts that the document's metadata value permits.

    The value v in [0, `num_values`) of each document arrives as `condition_ids`; -1 permits every
    expert. Which experts v permits: `permitted` (a list of expert ids for each value), or a
    `rule` over an even division in which expert e belongs to value floor(e * num_values / E):
    "own" permits the experts of v, "causal" those of every value up to v (v in time order, so
    that nothing learnt later reaches an earlier document). A forbidden expert gets probability 0;
    slots beyond the permitted experts stay empty, and where nothing is permitted the layer
    returns zeros.
    """

    parameters_with_defaults: ClassVar[dict[str, Any]] = {
        "num_values": 1,
        "rule": "causal",
        "permitted": None,
        "renormalise": True,
    }
    permitted: Tensor

    def __init__(self, config: Any, layer_idx: int) -> None:
        super().__init__(config, layer_idx)
        rows = self.settings["num_values"] + 1
        allowed = torch.ones(rows, config.num_experts, dtype=torch.bool)
        # (num_values + 1, E): the last row is the unknown value, reached by index -1
        self.register_buffer("permitted", allowed, persistent=False)
        self.init_buffers()

    @classmethod
    def check(cls, config: Any, settings: dict[str, Any]) -> None:
        values, table = settings["num_values"], settings["permitted"]
        if not isinstance(values, int) or values < 1:
            raise ValueError(f"router.num_values={values!r} must be a whole number of at least 1")
        if settings["rule"] not in ("causal", "own"):
            raise ValueError(f'router.rule={settings["rule"]!r} must be "causal" or "own"')
        if table is not None and len(table) != values:
            raise ValueError(
                f"router.permitted lists {len(table)} values, but router.num_values={values}"
            )
        for expert in (e for row in table or [] for e in row):
            if not 0 <= expert < config.num_experts:
                raise ValueError(
                    f"router.permitted names expert {expert}; there are {config.num_experts}, "
                    f"counted from 0"
                )
        if settings["renormalise"]:
            refuse_silent_router(config, "router.renormalise=true")

    def init_buffers(self) -> None:
        init.copy_(self.permitted, self._permission_table())

    def _permission_table(self) -> Tensor:
        values, E = self.settings["num_values"], self.num_experts
        if self.settings["permitted"] is not None:
            table = torch.zeros(values, E, dtype=torch.bool)
            for value, experts in enumerate(self.settings["permitted"]):
                table[value, list(experts)] = True
        else:
            owner = torch.arange(E) * values // E
            each = torch.arange(values)[:, None]
            table = owner <= each if self.settings["rule"] == "causal" else owner == each
        return torch.cat([table, torch.ones(1, E, dtype=torch.bool)])

    def forward(self, hidden_ND: Tensor, context: RoutingContext) -> Routing:
        if context.condition_ids is None:
            raise ValueError(
                'router "masked" needs condition_ids, the metadata value of each document '
                "(-1 = unknown, every expert permitted)"
            )
        logits = self.logits(hidden_ND)
        permitted = self.permitted[context.condition_ids]  # (N, E)
        # rows without a permitted expert would give 0/0: leave them open, then take all slots out
        open_rows = permitted | ~permitted.any(-1, keepdim=True)
        probabilities = logits.masked_fill(~open_rows, float("-inf")).softmax(-1)
        probabilities = probabilities.masked_fill(~permitted, 0.0)
        weights, ids = probabilities.topk(self.top_k, dim=-1)
        empty = ~permitted.gather(-1, ids)
        ids, weights = ids.masked_fill(empty, self.num_experts), weights.masked_fill(empty, 0.0)
        if self.settings["renormalise"]:
            weights = weights / weights.sum(-1, keepdim=True).clamp(min=1e-20)
        ids, weights = mask_padding(ids, weights, context, self.num_experts)
        return Routing(logits, probabilities, ids, weights)
