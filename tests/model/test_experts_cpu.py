"""The fused CPU experts against the loop over experts, values and every gradient."""

from typing import Any

import pytest
import torch
from torch import Tensor

from moescope.model import MoescopeConfig, MoescopeExperts, experts_cpu


def experts_for(implementation: str, dtype: torch.dtype, **overrides: Any) -> MoescopeExperts:
    arguments: dict[str, Any] = {
        "hidden_size": 12,
        "num_attention_heads": 2,
        "moe_intermediate_size": 12,
        "num_experts": 4,
        "num_experts_per_tok": 1,
        "router": {"name": "switch"},
    }
    config = MoescopeConfig(**arguments | overrides)
    config._experts_implementation = implementation
    experts = MoescopeExperts(config).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in experts.parameters():
            parameter.normal_(generator=generator)
    return experts.to(dtype)


def random_slots(rows: int, k: int, num_experts: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Ids in [0, E], E being "no expert", and weights."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, num_experts + 1, (rows, k), generator=generator)
    weights = torch.rand(rows, k, generator=generator, dtype=torch.float64)
    return ids, weights.masked_fill(ids == num_experts, 0)


def run(experts: MoescopeExperts, hidden: Tensor, ids: Tensor, weights: Tensor) -> list[Tensor]:
    """Output, then gradients of hidden, weights and parameters for a fixed direction."""
    hidden, weights = hidden.clone().requires_grad_(), weights.clone().requires_grad_()
    output = experts(hidden, ids, weights)
    direction = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)
    inputs = [hidden, weights, *experts.parameters()]
    return [output, *torch.autograd.grad(output, inputs, direction, allow_unused=True)]


VARIANTS = [
    {},
    {"gated": False, "hidden_act": "relu"},
    {"mlp_bias": True, "hidden_act": "gelu"},
    {"gated": False, "mlp_bias": True, "hidden_act": "gelu_pytorch_tanh"},
]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("implementation", ["moescope_cpu", "grouped_mm", "batched_mm"])
@pytest.mark.parametrize("shape", [(23, 2, 4), (1500, 1, 2), (7, 3, 9), (5, 1, 1)])
def test_equals_loop(
    variant: dict[str, Any], implementation: str, shape: tuple[int, int, int]
) -> None:
    rows, k, num_experts = shape
    hidden = torch.randn(rows, 12, generator=torch.Generator().manual_seed(2)).double()
    ids, weights = random_slots(rows, k, num_experts)
    variant = variant | {"num_experts": num_experts}
    # the library's grouped GEMM has no float64
    dtype = torch.float32 if implementation == "grouped_mm" else torch.float64
    slow = experts_for("eager", torch.float64, **variant)
    fast = experts_for(implementation, dtype, **variant)
    expected = run(slow, hidden, ids, weights)
    got = run(fast, hidden.to(dtype), ids, weights.to(dtype))
    # the gradient of a weight whose slot is not executed is nobody's business
    expected[2], got[2] = (g.masked_fill(ids == num_experts, 0) for g in (expected[2], got[2]))
    tolerance = {"rtol": 1e-3, "atol": 1e-2} if dtype == torch.float32 else {}
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a.double(), b, **tolerance)


@pytest.mark.parametrize("variant", VARIANTS)
def test_experts_in_several_blocks(
    variant: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weight gradients add up over an expert's blocks, the last of which is shorter."""
    hidden = torch.randn(50, 12, generator=torch.Generator().manual_seed(2)).double()
    ids, weights = random_slots(50, 2, 4)
    experts = experts_for("moescope_cpu", torch.float64, **variant)
    expected = run(experts, hidden, ids, weights)
    monkeypatch.setattr(experts_cpu, "BLOCK_ROWS", 7)
    for a, b in zip(run(experts, hidden, ids, weights), expected, strict=True):
        torch.testing.assert_close(a, b)


def test_same_with_one_and_two_threads() -> None:
    hidden = torch.randn(300, 12, generator=torch.Generator().manual_seed(2)).double()
    ids, weights = random_slots(300, 2, 4)
    experts, threads = experts_for("moescope_cpu", torch.float64), torch.get_num_threads()
    results = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append(run(experts, hidden, ids, weights))
    finally:
        torch.set_num_threads(threads)
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("variant", VARIANTS)
def test_without_gradients(variant: dict[str, Any]) -> None:
    experts = experts_for("moescope_cpu", torch.float64, **variant)
    hidden = torch.randn(30, 12, generator=torch.Generator().manual_seed(2)).double()
    ids, weights = random_slots(30, 2, 4)
    expected = experts(hidden, ids, weights)
    with torch.no_grad():
        torch.testing.assert_close(experts(hidden, ids, weights), expected)


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradcheck(variant: dict[str, Any]) -> None:
    experts = experts_for("moescope_cpu", torch.float64, moe_intermediate_size=3, **variant)
    hidden = torch.randn(6, 12, dtype=torch.float64, requires_grad=True)
    ids, weights = random_slots(6, 2, 4)
    weights.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda h, w, *_: experts(h, ids, w), (hidden, weights, *experts.parameters())
    )


@pytest.mark.parametrize("ids", [torch.zeros(9, 2, dtype=torch.long), torch.full((9, 2), 4)])
def test_all_slots_to_one_expert_or_to_none(ids: Tensor) -> None:
    hidden, weights = torch.randn(9, 12).double(), torch.rand(9, 2).double()
    weights = weights.masked_fill(ids == 4, 0)
    expected = run(experts_for("eager", torch.float64), hidden, ids, weights)
    got = run(experts_for("moescope_cpu", torch.float64), hidden, ids, weights)
    for i, (a, b) in enumerate(zip(got, expected, strict=True)):
        if i != 2:
            torch.testing.assert_close(a, b)


def test_zero_rows() -> None:
    experts = experts_for("moescope_cpu", torch.float32)
    hidden = torch.zeros(0, 12, requires_grad=True)
    output = experts(hidden, torch.zeros(0, 2, dtype=torch.long), torch.zeros(0, 2))
    output.sum().backward()
    assert output.shape == (0, 12)
    assert not experts.down_proj.grad.any()


def test_bfloat16_and_non_contiguous_input() -> None:
    ids, weights = random_slots(40, 2, 4)
    hidden = torch.randn(12, 40, generator=torch.Generator().manual_seed(3)).T.bfloat16()
    weights = weights.bfloat16()
    got = run(experts_for("moescope_cpu", torch.bfloat16), hidden, ids, weights)
    expected = run(experts_for("eager", torch.float64), hidden.double(), ids, weights.double())
    for i, (a, b) in enumerate(zip(got, expected, strict=True)):
        if i != 2:
            scale = b.abs().max()
            assert (a.double() - b).abs().max() < 0.03 * scale
