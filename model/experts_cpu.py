"""Fused experts for CPU, registered in transformers' experts interface as `moescope_cpu`.

Slots are sorted by expert once; then each expert gathers its rows, multiplies, activates,
multiplies and scatters while its block is in cache. The backward pass is written out: only the
first projection is kept, weight gradients are written in place, and the gradient of a slot's
weight falls out of the product that the backward pass needs anyway.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS, grouped_mm_experts_forward


class Activation(NamedTuple):
    """An activation and the product of its derivative with an incoming gradient."""

    forward: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor], Tensor]  # (gradient, input)


aten = torch.ops.aten
ACTIVATIONS: dict[str, Activation] = {
    "silu": Activation(aten.silu, aten.silu_backward),
    "gelu": Activation(aten.gelu, aten.gelu_backward),
    "gelu_pytorch_tanh": Activation(
        lambda x: aten.gelu(x, approximate="tanh"),
        lambda g, x: aten.gelu_backward(g, x, approximate="tanh"),
    ),
    "relu": Activation(aten.relu, lambda g, x: aten.threshold_backward(g, x, 0)),
}


class Groups(NamedTuple):
    """Slots (token, choice) sorted by expert; slots with id E or more are left out."""

    slots: Tensor
    """(S,) flat index into (N, k)."""
    rows: Tensor
    """(S,) token row of each slot."""
    bounds: list[int]
    """E + 1 offsets into the two above."""

    def __iter__(self) -> Any:
        """Yield (expert, start, end) of experts that have slots."""
        for expert in range(len(self.bounds) - 1):
            start, end = self.bounds[expert], self.bounds[expert + 1]
            if end > start:
                yield expert, start, end


def group_by_expert(expert_ids_Nk: Tensor, num_experts: int) -> Groups:
    """Sort the slots by expert (stable, so rows rise within an expert)."""
    flat = expert_ids_Nk.reshape(-1)
    slots = flat.to(torch.int16 if num_experts < 2**15 else flat.dtype).argsort(stable=True)
    counts = torch.bincount(flat, minlength=num_experts)[:num_experts]
    bounds = [0, *counts.cumsum(0).tolist()]
    rows = slots.div(expert_ids_Nk.shape[-1], rounding_mode="floor")
    return Groups(slots, rows, bounds)


def _activate(projected: Tensor, gated: bool, act: Activation) -> Tensor:
    if not gated:
        return act.forward(projected)
    gate, up = projected.chunk(2, dim=-1)
    return act.forward(gate).mul_(up)


def _activate_backward(
    grad_inner: Tensor, projected: Tensor, gated: bool, act: Activation
) -> Tensor:
    if not gated:
        return act.backward(grad_inner, projected)
    gate, up = projected.chunk(2, dim=-1)
    grad = torch.empty_like(projected)
    grad_gate, grad_up = grad.chunk(2, dim=-1)
    torch.mul(grad_inner, act.forward(gate), out=grad_up)
    grad_gate.copy_(act.backward(grad_inner * up, gate))
    return grad


class FusedExperts(torch.autograd.Function):
    """sum over slots of weight * down(act(up(x))), see the module's docstring."""

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
        output_ND = torch.zeros_like(hidden_ND)
        slot_weights = weights_Nk.reshape(-1)[groups.slots, None]
        projected = hidden_ND.new_empty(groups.bounds[-1], up_EID.shape[1])
        for e, start, end in groups:
            rows, block = groups.rows[start:end], projected[start:end]
            torch.mm(hidden_ND[rows], up_EID[e].T, out=block)
            if up_bias is not None:
                block += up_bias[e]
            outer = _activate(block, gated, act) @ down_EDI[e].T
            if down_bias is not None:
                outer += down_bias[e]
            output_ND.index_add_(0, rows, outer.mul_(slot_weights[start:end]))
        ctx.save_for_backward(hidden_ND, weights_Nk, up_EID, down_EDI, down_bias, projected)
        ctx.groups, ctx.gated, ctx.act, ctx.has_bias = groups, gated, act, up_bias is not None
        return output_ND

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        hidden_ND, weights_Nk, up_EID, down_EDI, down_bias, projected = ctx.saved_tensors
        groups: Groups = ctx.groups
        slot_weights = weights_Nk.reshape(-1)[groups.slots, None]
        grad_hidden = torch.zeros_like(hidden_ND)
        grad_weights = torch.zeros_like(weights_Nk.reshape(-1))
        grad_up, grad_down = torch.zeros_like(up_EID), torch.zeros_like(down_EDI)
        grad_up_bias = up_EID.new_zeros(up_EID.shape[:2]) if ctx.has_bias else None
        grad_down_bias = torch.zeros_like(down_bias) if ctx.has_bias else None
        for e, start, end in groups:
            rows, block = groups.rows[start:end], projected[start:end]
            grad_outer = grad_output[rows]
            inner = _activate(block, ctx.gated, ctx.act)
            grad_inner = grad_outer @ down_EDI[e]
            slot_grad = (grad_inner * inner).sum(-1)
            if ctx.has_bias:
                slot_grad += grad_outer @ down_bias[e]
            grad_weights[groups.slots[start:end]] = slot_grad
            grad_outer *= slot_weights[start:end]
            grad_inner *= slot_weights[start:end]
            torch.mm(grad_outer.T, inner, out=grad_down[e])
            grad_block = _activate_backward(grad_inner, block, ctx.gated, ctx.act)
            torch.mm(grad_block.T, hidden_ND[rows], out=grad_up[e])
            if grad_up_bias is not None and grad_down_bias is not None:
                grad_up_bias[e], grad_down_bias[e] = grad_block.sum(0), grad_outer.sum(0)
            grad_hidden.index_add_(0, rows, grad_block @ up_EID[e])
        return (
            grad_hidden,
            grad_weights.view_as(weights_Nk),
            grad_up,
            grad_down,
            grad_up_bias,
            grad_down_bias,
            None,
            None,
            None,
        )


def moescope_cpu_experts_forward(
    self: torch.nn.Module, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor
) -> Tensor:
    """Experts forward for the interface; on other devices the library's grouped GEMM."""
    if hidden_states.device.type != "cpu":
        return grouped_mm_experts_forward(self, hidden_states, top_k_index, top_k_weights)
    module: Any = self
    up = module.gate_up_proj if module.has_gate else module.up_proj
    up_bias = down_bias = None
    if module.has_bias:
        up_bias = module.gate_up_proj_bias if module.has_gate else module.up_proj_bias
        down_bias = module.down_proj_bias
    return FusedExperts.apply(
        hidden_states,
        top_k_weights.to(hidden_states.dtype),
        up,
        module.down_proj,
        up_bias,
        down_bias,
        group_by_expert(top_k_index, module.num_experts),
        module.has_gate,
        ACTIVATIONS[module.config.hidden_act],
    )


ALL_EXPERTS_FUNCTIONS.register("moescope_cpu", moescope_cpu_experts_forward)
