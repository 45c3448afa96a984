"""One token's experts against the slow obvious forward."""

from typing import Any

import pytest
import torch

from moescope.model import MoescopeConfig, MoescopeExperts
from moescope.model.experts_one_token import cpu_experts_forward

WIDTH, EXPERTS = 24, 5


def experts(**changes: Any) -> MoescopeExperts:
    config = MoescopeConfig(
        hidden_size=WIDTH, num_attention_heads=2, num_experts=EXPERTS, moe_intermediate_size=20
    )
    for name, value in changes.items():
        setattr(config, name, value)
    config._experts_implementation = "eager"
    module = MoescopeExperts(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.3, generator=generator)
    return module


@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("mlp_bias", [True, False])
@pytest.mark.parametrize("ids", [[2], [4, 0], [1, EXPERTS, 3], [EXPERTS, EXPERTS]], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_equals_the_slow_forward(
    gated: bool, mlp_bias: bool, ids: list[int], dtype: torch.dtype
) -> None:
    module = experts(gated=gated, mlp_bias=mlp_bias).to(dtype)
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(1, WIDTH, generator=generator).to(dtype)
    index = torch.tensor([ids])
    weights = torch.rand(index.shape, generator=generator).masked_fill(index == EXPERTS, 0.0)
    with torch.inference_mode():
        got = cpu_experts_forward(module, hidden, index, weights)
        expected = module(hidden, index, weights)
    rtol, atol = (0.02, 0.05) if dtype == torch.bfloat16 else (1e-4, 1e-5)
    assert got.dtype == dtype
    torch.testing.assert_close(got, expected, rtol=rtol, atol=atol)


def test_a_single_token_with_gradients_gets_them() -> None:
    module = experts()
    hidden = torch.randn(1, WIDTH, requires_grad=True)
    weights = torch.tensor([[0.4, 0.6]], requires_grad=True)
    cpu_experts_forward(module, hidden, torch.tensor([[0, 3]]), weights).sum().backward()
    assert hidden.grad is not None
    assert weights.grad is not None
    assert module.down_proj.grad is not None
