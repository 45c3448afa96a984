"""Experts on CPU for a single token, as in generation: its experts one after another.

Sorting slots and gathering rows cost more than one row's products; matrix times vector reads each
chosen expert's weights once, where they lie.
"""

from typing import Any

import torch
from torch import Tensor

from .experts_cpu import moescope_cpu_experts_forward, runs_fused


def cpu_experts_forward(
    self: torch.nn.Module, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor
) -> Tensor:
    """`moescope_cpu` of the experts interface: one token without gradients here, else fused."""
    single = len(hidden_states) == 1 and runs_fused(hidden_states)
    if single and not torch.is_grad_enabled():
        return one_token_forward(self, hidden_states[0], top_k_index[0], top_k_weights[0])
    return moescope_cpu_experts_forward(self, hidden_states, top_k_index, top_k_weights)


def one_token_forward(module: Any, hidden_D: Tensor, ids_k: Tensor, weights_k: Tensor) -> Tensor:
    """(1, D): sum over the token's experts of weight * down(act(up(x))); ids of E are skipped."""
    prefix = "gate_up" if module.has_gate else "up"
    up_EID, down_EDI = getattr(module, f"{prefix}_proj"), module.down_proj
    chosen = ids_k.tolist()
    projected_kI = hidden_D.new_zeros(len(chosen), up_EID.shape[1])
    slots = [(slot, e) for slot, e in enumerate(chosen) if e < module.num_experts]
    for slot, e in slots:
        torch.mv(up_EID[e], hidden_D, out=projected_kI[slot])
        if module.has_bias:
            projected_kI[slot] += getattr(module, f"{prefix}_proj_bias")[e]
    weights_k1 = weights_k[:, None].to(hidden_D.dtype)
    if module.has_gate:
        gate, up = projected_kI.chunk(2, dim=-1)
        inner = module.act_fn(gate) * up * weights_k1
    else:
        inner = module.act_fn(projected_kI) * weights_k1
    output = torch.zeros_like(hidden_D)
    for slot, e in slots:
        output.addmv_(down_EDI[e], inner[slot])
        if module.has_bias:
            output.addcmul_(module.down_proj_bias[e], weights_k1[slot])
    return output[None]
