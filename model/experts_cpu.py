"""Fused experts for CPU, `moescope_cpu` in transformers' experts interface.

Slots are sorted by expert once; then each expert gathers its rows, multiplies, activates,
multiplies and scatters while its block is in cache. The backward pass is written out: the first
projection and its activation are kept, weight gradients are written in place, and the gradient
of a slot's weight falls out of the product that the backward pass needs anyway.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from transformers.integrations.moe import grouped_mm_experts_forward

aten = torch.ops.aten
# rows of one expert handled at a time: more keep less in cache, fewer read the weights more often
BLOCK_ROWS = 1536
# without gradients, up to so many slots go through in one pass: fewer, larger elementwise calls
FEW_SLOTS = 2048


class Activation(NamedTuple):
    """An activation and its derivative times an incoming gradient, both writing to `out`."""

    forward: Callable[[Tensor, Tensor], object]  # (input, out)
    backward: Callable[[Tensor, Tensor, Tensor], object]  # (gradient, input, out)


ACTIVATIONS: dict[str, Activation] = {
    "silu": Activation(
        lambda x, out: aten.silu.out(x, out=out),
        lambda g, x, out: aten.silu_backward.grad_input(g, x, grad_input=out),
    ),
    "gelu": Activation(
        lambda x, out: aten.gelu.out(x, out=out),
        lambda g, x, out: aten.gelu_backward.grad_input(g, x, grad_input=out),
    ),
    "gelu_pytorch_tanh": Activation(
        lambda x, out: aten.gelu.out(x, approximate="tanh", out=out),
        lambda g, x, out: aten.gelu_backward.grad_input(g, x, approximate="tanh", grad_input=out),
    ),
    "relu": Activation(
        lambda x, out: torch.clamp_min(x, 0, out=out),
        lambda g, x, out: aten.threshold_backward.grad_input(g, x, 0, grad_input=out),
    ),
}


class Groups(NamedTuple):
    """Slots (token, choice) sorted by expert; slots with id E or more are left out."""

    slots: Tensor
    """(S,) flat index into (N, k)."""
    rows: Tensor
    """(S,) token row of each slot."""
    places: Tensor
    """(N, k) where each slot stands in the two above; 0 for those left out."""
    experts: list[int]
    """The expert of each block of sorted slots."""
    sizes: list[int]
    """Slots of each block, at most `BLOCK_ROWS`."""

    @property
    def complete(self) -> bool:
        """Whether no slot is left out."""
        return len(self.slots) == self.places.numel()


def group_by_expert(expert_ids_Nk: Tensor, num_experts: int) -> Groups:
    """Sort the slots by expert (stable, so rows rise within an expert)."""
    flat = expert_ids_Nk.reshape(-1)
    key = flat.to(torch.int16) if num_experts < 2**15 else flat
    counts = torch.bincount(flat, minlength=num_experts)[:num_experts].tolist()
    slots = key.argsort(stable=True)[: sum(counts)]
    experts, sizes = [], []
    for expert, count in enumerate(counts):
        for first in range(0, count, BLOCK_ROWS):
            experts.append(expert)
            sizes.append(min(BLOCK_ROWS, count - first))
    top_k = expert_ids_Nk.shape[-1]
    rows = slots if top_k == 1 else slots // top_k
    places = torch.zeros_like(flat)
    places[slots] = torch.arange(len(slots))
    return Groups(slots, rows, places.view(-1, top_k), experts, sizes)


def _scratch(like: Tensor, groups: Groups, width: int) -> Tensor:
    return like.new_empty(max(groups.sizes, default=0), width)


def _multiply_into(grad: Tensor, left: Tensor, right: Tensor, *, first: bool) -> None:
    """Set grad to left @ right, or add it after the first product."""
    torch.addmm(grad, left, right, beta=0 if first else 1, out=grad)


def _sum_slots(values_SD: Tensor, groups: Groups, factors_Nk: Tensor | None = None) -> Tensor:
    """(N, D) sum over each row's slots of factor * value, gathered in one pass over the rows."""
    if not len(values_SD):
        return values_SD.new_zeros(len(groups.places), values_SD.shape[1])
    if not groups.complete:  # a slot left out points at another's value
        chosen = torch.zeros_like(groups.places, dtype=values_SD.dtype)
        chosen.view(-1)[groups.slots] = 1
        factors_Nk = chosen if factors_Nk is None else factors_Nk * chosen
    return F.embedding_bag(groups.places, values_SD, mode="sum", per_sample_weights=factors_Nk)


def _blocks(groups: Groups, *over_slots: Tensor) -> Iterator[Any]:
    """Yield the expert of each block and the block's part of each (S, ...) tensor."""
    parts = (tensor.split(groups.sizes) for tensor in over_slots)
    return zip(groups.experts, *parts, strict=True)


def _clear_idle_experts(groups: Groups, *gradients: Tensor) -> None:
    """Zero the gradients of experts that got no slot: nothing was written there."""
    for e in set(range(len(gradients[0]))) - set(groups.experts):
        for gradient in gradients:
            gradient[e].zero_()


class FusedExperts(torch.autograd.Function):
    """Sum over slots of weight * down(act(up(x))); the module's docstring says how."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        hidden_ND: Tensor,
        weights_Nk: Tensor,
        up_EID: Tensor,
        down_EDI: Tensor,
        up_bias: Tensor | None,
        down_bias: Tensor | None,
        groups: Groups,
        gated: bool,
        act: Activation,
    ) -> Tensor:
        width, num_slots = down_EDI.shape[-1], len(groups.rows)
        projected = hidden_ND.new_empty(num_slots, up_EID.shape[1])
        activated = hidden_ND.new_empty(num_slots, width)
        inner = hidden_ND.new_empty(num_slots, width) if gated else activated
        outer = hidden_ND.new_empty(num_slots, hidden_ND.shape[1])
        inputs = _scratch(hidden_ND, groups, hidden_ND.shape[1])
        ups, downs = up_EID.mT.unbind(), down_EDI.mT.unbind()
        blocks = _blocks(groups, groups.rows, projected, activated, inner, outer)
        for e, rows, p, a, h, y in blocks:
            x = torch.index_select(hidden_ND, 0, rows, out=inputs[: len(rows)])
            torch.mm(x, ups[e], out=p)
            if up_bias is not None:
                p += up_bias[e]
            act.forward(p[:, :width], a)
            if gated:
                torch.mul(a, p[:, width:], out=h)
            torch.mm(h, downs[e], out=y)
            if down_bias is not None:
                y += down_bias[e]
        ctx.save_for_backward(
            hidden_ND, weights_Nk, up_EID, down_EDI, projected, activated, inner, outer
        )
        ctx.groups, ctx.gated, ctx.act, ctx.has_bias = groups, gated, act, up_bias is not None
        return _sum_slots(outer, groups, weights_Nk)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        saved = ctx.saved_tensors  # once: gradient checkpointing gives them a single time
        hidden_ND, weights_Nk, up_EID, down_EDI = saved[:4]
        projected, activated, inner, outer = saved[4:]
        groups: Groups = ctx.groups
        width = down_EDI.shape[-1]
        slot_weights = weights_Nk.reshape(-1)[groups.slots, None]
        grad_x, grad_slot = torch.empty_like(outer), outer.new_empty(len(outer))
        grad_up, grad_down = torch.empty_like(up_EID), torch.empty_like(down_EDI)
        grad_up_bias = up_EID.new_zeros(up_EID.shape[:2]) if ctx.has_bias else None
        grad_down_bias = up_EID.new_zeros(down_EDI.shape[:2]) if ctx.has_bias else None
        inputs, grads = (_scratch(hidden_ND, groups, hidden_ND.shape[1]) for _ in range(2))
        grads_h = _scratch(hidden_ND, groups, width)
        grads_p = _scratch(hidden_ND, groups, up_EID.shape[1])
        blocks = _blocks(
            groups, groups.rows, slot_weights, projected, activated, inner, outer, grad_x, grad_slot
        )
        last = -1
        for e, rows, weights, p, a, h, y, grad_rows, grad_weights in blocks:
            n, first, last = len(rows), e != last, e
            x, g, grad_h, grad_p = inputs[:n], grads[:n], grads_h[:n], grads_p[:n]
            torch.index_select(grad_output, 0, rows, out=g)
            torch.sum(torch.mul(g, y, out=x), -1, out=grad_weights)
            g *= weights
            torch.mm(g, down_EDI[e], out=grad_h)
            _multiply_into(grad_down[e], g.T, h, first=first)
            if ctx.gated:
                torch.mul(grad_h, a, out=grad_p[:, width:])
                grad_h *= p[:, width:]
            ctx.act.backward(grad_h, p[:, :width], grad_p[:, :width])
            torch.index_select(hidden_ND, 0, rows, out=x)
            _multiply_into(grad_up[e], grad_p.T, x, first=first)
            torch.mm(grad_p, up_EID[e], out=grad_rows)
            if grad_up_bias is not None and grad_down_bias is not None:
                grad_up_bias[e] += grad_p.sum(0)
                grad_down_bias[e] += g.sum(0)
        _clear_idle_experts(groups, grad_up, grad_down)
        grad_factors = torch.zeros_like(weights_Nk).view(-1)
        grad_factors[groups.slots] = grad_slot
        gradients = (grad_up, grad_down, grad_up_bias, grad_down_bias)
        grad_hidden = _sum_slots(grad_x, groups)
        return (grad_hidden, grad_factors.view_as(weights_Nk), *gradients, None, None, None)


def _few_slots_forward(
    hidden_ND: Tensor,
    weights_Nk: Tensor,
    up_EID: Tensor,
    down_EDI: Tensor,
    up_bias: Tensor | None,
    down_bias: Tensor | None,
    groups: Groups,
    gated: bool,
    act: Activation,
) -> Tensor:
    """`FusedExperts` without gradients: only the products run per expert."""
    x = hidden_ND[groups.rows]
    projected = x.new_empty(len(x), up_EID.shape[1])
    outer = torch.empty_like(x)
    ups, downs = up_EID.mT.unbind(), down_EDI.mT.unbind()
    for e, rows, p in _blocks(groups, x, projected):
        torch.mm(rows, ups[e], out=p)
        if up_bias is not None:
            p += up_bias[e]
    width = down_EDI.shape[-1]
    inner = x.new_empty(len(x), width)
    act.forward(projected[:, :width], inner)
    if gated:
        inner *= projected[:, width:]
    for e, h, y in _blocks(groups, inner, outer):
        torch.mm(h, downs[e], out=y)
        if down_bias is not None:
            y += down_bias[e]
    return _sum_slots(outer, groups, weights_Nk)


def runs_fused(hidden_states: Tensor) -> bool:
    """Whether our path takes these: not on other devices, nor in a graph that is being traced.

    There the library's grouped product runs: ours reads counts on the host.
    """
    return hidden_states.device.type == "cpu" and not torch.compiler.is_compiling()


def moescope_cpu_experts_forward(
    self: torch.nn.Module, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor
) -> Tensor:
    """Experts forward for the interface: fused, or the library's grouped product."""
    if not runs_fused(hidden_states):
        return grouped_mm_experts_forward(self, hidden_states, top_k_index, top_k_weights)
    module: Any = self
    up = module.gate_up_proj if module.has_gate else module.up_proj
    up_bias = down_bias = None
    if module.has_bias:
        up_bias = module.gate_up_proj_bias if module.has_gate else module.up_proj_bias
        down_bias = module.down_proj_bias
    groups = group_by_expert(top_k_index, module.num_experts)
    few = not torch.is_grad_enabled() and len(groups.rows) <= FEW_SLOTS
    return (_few_slots_forward if few else FusedExperts.apply)(
        hidden_states,
        top_k_weights.to(hidden_states.dtype),
        up,
        module.down_proj,
        up_bias,
        down_bias,
        groups,
        module.has_gate,
        ACTIVATIONS[module.config.hidden_act],
    )
