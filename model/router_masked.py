"""Routing masked by document metadata: a year, a topic, any column."""

from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import initialization as init

from .routing import Router, Routing, RoutingContext, mask_padding, refuse_silent_router

POLICIES = ("exact", "causal", "explicit")


class MaskedRouter(Router):
    """Softmax top-k over the experts that the document's metadata permits.

    Each document has one of the `values` of a `column`; its number in that list arrives as
    `metadata_ids`, and -1 permits every expert. What value v permits, by `policy`:

    - "exact": its own experts. The first `shared` experts are permitted to all; the others are
      divided evenly, so that expert e belongs to value floor((e - shared) V / (E - shared)).
    - "causal": those of every value up to v. With values in order of time nothing learnt later
      reaches an earlier document.
    - "explicit": row v of `permitted`, a list of expert numbers.

    `column` "year" takes `values` as the first years of periods, the last one ending with `last`.
    A forbidden expert has logit -inf and probability 0, so that neither task nor balance losses
    send it a gradient; slots beyond the permitted experts stay empty, and where nothing is
    permitted the layer returns zeros.
    """

    parameters_with_defaults: ClassVar[dict[str, Any]] = {
        "column": "year",
        "values": [0],
        "last": None,
        "policy": "causal",
        "permitted": [],
        "shared": 0,
        "renormalise": True,
    }
    permitted: Tensor

    def __init__(self, config: Any, layer_idx: int) -> None:
        super().__init__(config, layer_idx)
        rows = len(self.settings["values"]) + 1
        allowed = torch.ones(rows, config.num_experts, dtype=torch.bool)
        # (V + 1, E): row -1, the last one, is for an unknown value
        self.register_buffer("permitted", allowed, persistent=False)
        self.init_buffers()

    @classmethod
    def check(cls, config: Any, settings: dict[str, Any]) -> None:
        values, table = settings["values"], settings["permitted"]
        if not values or len(set(values)) < len(values):
            raise ValueError(f"router.values={values} must name at least one value, and none twice")
        if settings["policy"] not in POLICIES:
            raise ValueError(f"router.policy={settings['policy']!r} must be one of {POLICIES}")
        if settings["policy"] == "explicit" and len(table) != len(values):
            raise ValueError(
                f"router.permitted lists {len(table)} values, but router.values has {len(values)}"
            )
        for expert in (e for row in table for e in row):
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
        values, E, shared = len(self.settings["values"]), self.num_experts, self.settings["shared"]
        if self.settings["policy"] == "explicit":
            table = torch.zeros(values, E, dtype=torch.bool)
            for value, experts in enumerate(self.settings["permitted"]):
                table[value, list(experts)] = True
        else:
            owner = (torch.arange(E) - shared) * values // max(E - shared, 1)
            each = torch.arange(values)[:, None]
            table = owner <= each if self.settings["policy"] == "causal" else owner == each
            table[:, :shared] = True
        return torch.cat([table, torch.ones(1, E, dtype=torch.bool)])

    def route(self, hidden_ND: Tensor, context: RoutingContext) -> Routing:
        if context.metadata_ids is None:
            raise ValueError(
                'router "masked" needs metadata_ids, the number of each document\'s value '
                "(-1 = unknown, every expert permitted)"
            )
        logits = self.logits(hidden_ND)
        # an expert that was taken away (logit -inf) is not permitted, either
        permitted = self.permitted[context.metadata_ids] & (logits > -torch.inf)  # (N, E)
        # a row of -inf alone has softmax 0/0: it gets zeros here, and no expert below
        nothing = ~permitted.any(-1, keepdim=True)
        logits = logits.masked_fill(~permitted, -torch.inf).masked_fill(nothing, 0.0)
        probabilities = logits.softmax(-1).masked_fill(~permitted, 0.0)
        weights, ids = probabilities.topk(self.top_k, dim=-1)
        empty = ~permitted.gather(-1, ids)
        ids, weights = ids.masked_fill(empty, self.num_experts), weights.masked_fill(empty, 0.0)
        if self.settings["renormalise"]:
            weights = weights / weights.sum(-1, keepdim=True).clamp(min=1e-20)
        ids, weights = mask_padding(ids, weights, context, self.num_experts)
        return Routing(logits, probabilities, ids, weights)
