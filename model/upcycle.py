"""Sparse upcycling (arXiv 2212.05055): makes a mixture of experts of a dense checkpoint."""

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from .configuration_moescope import MoescopeConfig
from .convert import build_with_weights, read_checkpoint
from .modeling_moescope import MoescopePreTrainedModel


def upcycle(
    dense: PreTrainedModel,
    *,
    generator: torch.Generator,
    noise: float = 0.0,
    reinitialise: float = 0.0,
    **moe_fields: Any,
) -> MoescopePreTrainedModel:
    """Copy a dense model; each block's FFN goes into every expert of that block.

    With weights that sum to 1 (`renormalise`) and neither noise nor re-initialisation, the new
    model's outputs equal the dense model's; the router starts fresh, from torch's global generator.

    Args:
        dense: a BERT-, GPT-2- or Llama-like model, with or without its language-model head.
        generator: draws the noise and the re-initialised units.
        noise: std of Gaussian noise on each expert's weights, as a share of the weight's own std.
        reinitialise: share in [0, 1] of each expert's inner units whose weights are drawn anew from
            a normal of the old weight's mean and std (Drop-Upcycling, arXiv 2502.19261), other
            units for each expert.
        **moe_fields: fields of `MoescopeConfig`: num_experts (0 = stay dense),
            num_experts_per_tok, router, moe_every, first_k_dense, ...

    Returns:
        A masked or causal language model, or the base model where the dense one had no head.

    Raises:
        ValueError: a family that cannot be read or has experts, or a share outside [0, 1].
    """
    if not 0 <= reinitialise <= 1:
        raise ValueError(f"reinitialise={reinitialise} must be in [0, 1]")
    if noise < 0:
        raise ValueError(f"noise={noise} must be at least 0")
    fields, weights = read_checkpoint(dense)
    if fields["num_experts"]:
        raise ValueError(f"a {dense.config.model_type!r} model has experts already")
    fields["moe_intermediate_size"] = fields["intermediate_size"]
    config = MoescopeConfig(**fields | moe_fields)
    for layer in range(config.num_hidden_layers):
        if config.is_moe_layer(layer):
            prefix = f"model.layers.{layer}.mlp."
            experts = _experts_from_ffn(weights, prefix, config.num_experts)
            for name, tensor in experts.items():
                weights[prefix + name] = _diversify(tensor, noise, generator)
            _reinitialise_units(weights, prefix, reinitialise, generator)
    return build_with_weights(config, weights, dense)


def _experts_from_ffn(
    weights: dict[str, Tensor], prefix: str, num_experts: int
) -> dict[str, Tensor]:
    """Take the dense FFN out of `weights`; return it as E copies under the experts' names."""
    experts = {}
    for kind, suffix in (("weight", ""), ("bias", "_bias")):
        parts = {
            name: weights.pop(f"{prefix}{name}_proj.{kind}")
            for name in ("gate", "up", "down")
            if f"{prefix}{name}_proj.{kind}" in weights
        }
        if "gate" in parts:
            gate_up = torch.cat([parts.pop("gate"), parts.pop("up")])
            parts = {"gate_up": gate_up} | parts
        for name, tensor in parts.items():
            copies = tensor.expand(num_experts, *tensor.shape).clone()
            experts[f"experts.{name}_proj{suffix}"] = copies
    return experts


def _diversify(experts: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    if not noise:
        return experts
    drawn = torch.randn(experts.shape, generator=generator).to(experts)
    return experts + noise * experts.std() * drawn


def _reinitialise_units(
    weights: dict[str, Tensor], prefix: str, share: float, generator: torch.Generator
) -> None:
    """Draw anew, in place, what enters and leaves a random share of each expert's inner units."""
    gated = f"{prefix}experts.gate_up_proj" in weights
    up = weights[f"{prefix}experts.{'gate_up' if gated else 'up'}_proj"]  # (E, I or 2I, D)
    down = weights[f"{prefix}experts.down_proj"]  # (E, D, I)
    width = down.shape[-1]
    spread = {"up": (up.mean(), up.std()), "down": (down.mean(), down.std())}

    def draw(name: str, *shape: int) -> Tensor:
        mean, std = spread[name]
        return mean + std * torch.randn(shape, generator=generator).to(up)

    for e in range(len(up)):
        units = torch.randperm(width, generator=generator)[: round(share * width)]
        rows = torch.cat([units, units + width]) if gated else units
        up[e, rows] = draw("up", len(rows), up.shape[-1])
        down[e, :, units] = draw("down", down.shape[1], len(units))
