"""Under autocast experts multiply in its dtype, and gradients reach the float32 weights."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.integrations import moe

from moescope.model import MoescopeExperts
from tests.model.test_encoder import build, token_ids
from tests.model.test_experts_cpu import VARIANTS, experts_for, random_slots, run

BF16: dict[str, Any] = {"device_type": "cpu", "dtype": torch.bfloat16}
WIDTHS: dict[str, Any] = {"hidden_size": 16, "moe_intermediate_size": 16}


@pytest.fixture
def weights_given(monkeypatch: pytest.MonkeyPatch) -> list[torch.dtype]:
    """The dtypes of the weights of every grouped product; the library's slow loop is refused."""
    seen: list[torch.dtype] = []
    grouped_mm: Callable[..., Tensor] = torch.nn.functional.grouped_mm

    def recorded(rows: Tensor, weight: Tensor, **given: Any) -> Tensor:
        assert rows.dtype == weight.dtype
        seen.append(weight.dtype)
        return grouped_mm(rows, weight, **given)

    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("the loop over experts ran")

    monkeypatch.setattr(torch.nn.functional, "grouped_mm", recorded)
    monkeypatch.setattr(torch.ops.transformers, "grouped_mm_fallback", refused)
    return seen


def test_on_a_gpu_grouped_products_get_weights_in_autocasts_dtype(
    weights_given: list[torch.dtype], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moescope.model.modeling_moescope.runs_fused", lambda _: False)
    monkeypatch.setattr("moescope.model.experts_cpu.runs_fused", lambda _: False)
    # the library's own condition on a GPU and under torch.compile
    monkeypatch.setattr(moe, "_can_use_grouped_mm", lambda *a: a[1].dtype == torch.bfloat16)
    model, ids = build().train(), token_ids(2, 8)
    with torch.autocast(**BF16):
        loss = model(ids, labels=ids).loss
    loss.backward()
    assert weights_given == [torch.bfloat16] * 4  # two layers, two products each
    for experts in model.expert_modules():
        for parameter in experts.parameters():
            assert parameter.dtype == torch.float32
            assert parameter.grad is not None
            assert parameter.grad.dtype == torch.float32
            assert parameter.grad.abs().sum() > 0


@pytest.mark.parametrize("implementation", ["grouped_mm", "batched_mm", "eager"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_float32_within_the_rounding_of_bf16(
    variant: dict[str, Any], implementation: str
) -> None:
    hidden = torch.randn(23, 16, generator=torch.Generator().manual_seed(2))
    ids, weights = random_slots(23, 2, 4)
    weights = weights.float()
    expected = run(experts_for("eager", torch.float32, **variant | WIDTHS), hidden, ids, weights)
    experts = experts_for(implementation, torch.float32, **variant | WIDTHS)
    with torch.autocast(**BF16):
        got = run(experts, hidden, ids, weights)
    assert got[0].dtype == torch.bfloat16
    expected[2], got[2] = (g.masked_fill(ids == 4, 0) for g in (expected[2], got[2]))
    assert all(gradient.dtype == torch.float32 for gradient in got[1:])
    for ours, exact in zip(got, expected, strict=True):
        distance = (ours.float() - exact).norm() / exact.norm()
        assert distance < 0.05  # 2^-8 = 0.004 per rounding, and a few units change sides


def test_our_path_for_cpu_stays_in_float32() -> None:
    ids, weights = random_slots(23, 2, 4)
    experts: MoescopeExperts = experts_for("moescope_cpu", torch.float32)
    hidden = torch.randn(23, 12, generator=torch.Generator().manual_seed(2))
    expected = experts(hidden, ids, weights.float())
    with torch.autocast(**BF16):
        assert torch.equal(experts(hidden, ids, weights.float()), expected)
