"""What a router is given and what it returns.

Shape suffixes here and in the routers: N = batch x sequence rows, E = experts, k = slots per row.
"""

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.utils.generic import maybe_autocast


class Routing(NamedTuple):
    """One layer's routing decision, with a row for every position of the batch, padding included.

    A slot that is not executed (padding, dropped by capacity, nothing permitted) is handed to the
    experts with the id `num_experts` and weight 0: they skip it. `expert_ids` keeps the id that
    was chosen for slots dropped by capacity, so that drops can be counted by expert.
    """

    logits: Tensor
    """(N, E) float32 scores before any noise, bias or mask."""
    probabilities: Tensor
    """(N, E) float32 probability of each expert: softmax (or normalised sigmoid) of the logits."""
    expert_ids: Tensor
    """(N, k) int64 in [0, E]; E = no expert."""
    weights: Tensor
    """(N, k) float32 factor of each expert's output; 0 in slots that are not executed."""
    dropped: Tensor | None = None
    """(N, k) bool: chosen, but over the expert's capacity. None for routers without capacity."""
    load: Tensor | None = None
    """(E,) differentiable estimate of the load, only from routers that define one (noisy top-k)."""

    @property
    def num_experts(self) -> int:
        return self.logits.shape[-1]

    def dispatched_ids(self) -> Tensor:
        """(N, k) ids as the experts receive them: E wherever a slot is not executed."""
        if self.dropped is None:
            return self.expert_ids
        return self.expert_ids.masked_fill(self.dropped, self.num_experts)

    def counts(self, *, dispatched: bool = False) -> Tensor:
        """(E,) int64 number of slots per expert, chosen or (`dispatched`) really executed."""
        ids = (self.dispatched_ids() if dispatched else self.expert_ids).reshape(-1)
        counts = ids.new_zeros(self.num_experts + 1)
        return counts.scatter_add_(0, ids, torch.ones_like(ids))[:-1]


class RoutingContext(NamedTuple):
    """What a router may look at besides the hidden states."""

    batch_size: int
    token_mask: Tensor | None = None
    """(N,) bool, False at padding; None = no padding."""
    input_ids: Tensor | None = None
    """(N,) int64 token ids, for routers that ignore the hidden states."""
    position_ids: Tensor | None = None
    """(N,) int64 position within the document."""
    metadata_ids: Tensor | None = None
    """(N,) int64 number of the document's metadata value; -1 = unknown."""


def routing_context(
    shape: tuple[int, int],
    attention_mask: Tensor | None,
    input_ids: Tensor | None,
    position_ids: Tensor,
    metadata_ids: Tensor | None,
) -> RoutingContext:
    """Flatten what routers may look at to rows of B x S."""
    token_mask = None
    if attention_mask is not None and attention_mask.dim() == 2:
        token_mask = attention_mask[:, -shape[1] :].reshape(-1).bool()
    if metadata_ids is not None:
        per_position = metadata_ids if metadata_ids.dim() == 2 else metadata_ids[:, None]
        metadata_ids = per_position.expand(shape).reshape(-1)
    return RoutingContext(
        batch_size=shape[0],
        token_mask=token_mask,
        input_ids=None if input_ids is None else input_ids.reshape(-1),
        position_ids=position_ids.expand(shape).reshape(-1),
        metadata_ids=metadata_ids,
    )


class Router(nn.Module):
    """Base of the routers: a linear gate in float32 and the list of its own parameters.

    A subclass names its `parameters_with_defaults`, checks them in `check`, and implements
    `route(hidden_ND, context) -> Routing`, which is given float32 hidden states and runs outside
    any autocast: maths stay in float32 whatever the model's dtype.
    """

    parameters_with_defaults: ClassVar[dict[str, Any]] = {}

    def __init__(self, config: Any, layer_idx: int) -> None:
        super().__init__()
        self.num_experts: int = config.num_experts
        self.top_k: int = config.num_experts_per_tok
        self.layer_idx = layer_idx
        self.weight: nn.Parameter | None = nn.Parameter(
            torch.empty(config.num_experts, config.hidden_size)
        )
        self.settings = self.parameters_with_defaults | config.router

    @classmethod
    def check(cls, config: Any, settings: dict[str, Any]) -> None:
        """Raise ValueError when `settings` (defaults filled in) do not fit `config`."""

    def init_buffers(self) -> None:
        """Fill the router's buffers; called by the model's weight initialisation."""

    def after_optimizer_step(self) -> None:
        """Move state that is not trained by gradient (loss-free balancing)."""

    def logits(self, hidden_ND: Tensor) -> Tensor:
        """(N, E) float32 gate of float32 hidden states."""
        assert self.weight is not None
        return F.linear(hidden_ND, self.weight.float())

    def forward(self, hidden_ND: Tensor, context: RoutingContext) -> Routing:
        """Route in float32: autocast would round the logits to 8 bits and move choices."""
        with maybe_autocast(hidden_ND.device.type, enabled=False):
            return self.route(hidden_ND.float(), context)

    def route(self, hidden_ND: Tensor, context: RoutingContext) -> Routing:
        """Choose experts; `hidden_ND` is float32 and no autocast is on."""
        raise NotImplementedError


def refuse_silent_router(config: Any, reason: str) -> None:
    """Refuse a router whose single weight is always 1: no gradient from the task reaches it."""
    if config.num_experts_per_tok == 1 and config.num_experts > 1:
        raise ValueError(
            f"num_experts_per_tok=1 with {reason}: the one weight is always 1, so the router gets "
            "no gradient from the task and never learns. Choose num_experts_per_tok >= 2, or "
            'router "switch", or keep the weight as it is (renormalise=false, softmax=before)'
        )


def check_range(settings: dict[str, Any], name: str, low: float, high: float | None) -> None:
    """Raise ValueError unless `settings[name]` is None or a number in [low, high)."""
    value = settings[name]
    if value is None:
        return
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or value < low or (high is not None and value >= high):
        limit = f"at least {low:g}" if high is None else f"in [{low:g}, {high:g})"
        raise ValueError(f"router.{name}={value!r} must be a number {limit}")


def mask_padding(
    expert_ids: Tensor, weights: Tensor, context: RoutingContext, num_experts: int
) -> tuple[Tensor, Tensor]:
    """Take padding rows out: id `num_experts`, weight 0."""
    if context.token_mask is None:
        return expert_ids, weights
    padding = ~context.token_mask[:, None]
    return expert_ids.masked_fill(padding, num_experts), weights.masked_fill(padding, 0.0)


def over_capacity(
    expert_ids: Tensor, context: RoutingContext, num_experts: int, factor: float, per: str
) -> Tensor:
    """Finds the slots over their expert's capacity (Switch, arXiv 2101.03961; GShard, 2006.16668).

    Capacity is ceil(factor * k * tokens / E), counted over the real tokens of a group: the whole
    batch (`per="batch"`) or each sequence. Earlier tokens go first, and all first choices go
    before any second choice.

    Args:
        expert_ids: (N, k) with `num_experts` in slots that take no place.

    Returns:
        (N, k) bool.
    """
    N, k = expert_ids.shape
    groups = context.batch_size if per == "sequence" else 1
    ids_GSk = expert_ids.view(groups, N // groups, k)
    # choice-major order inside a group: (G, k*S)
    order = ids_GSk.transpose(1, 2).reshape(groups, -1)
    one_hot = F.one_hot(order, num_experts + 1)[..., :num_experts]  # (G, k*S, E)
    place = (one_hot.cumsum(1) * one_hot).sum(-1)  # 1-based place in the expert's queue
    if context.token_mask is None:
        tokens = torch.full((groups,), N // groups, device=expert_ids.device)
    else:
        tokens = context.token_mask.view(groups, -1).sum(1)
    # 1e-6: 1.1 * 10 tokens must give 11 places, not 12
    capacity = torch.ceil(factor * k * tokens / num_experts - 1e-6)
    dropped = place > capacity[:, None]
    return dropped.view(groups, k, N // groups).transpose(1, 2).reshape(N, k)
