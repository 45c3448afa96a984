"""Balance losses: the papers' formulas, their value at perfect balance and at collapse."""

import math

import pytest
import torch
from torch import Tensor

from moescope.model import BALANCE_LOSSES, MoescopeConfig, MoescopeExperts, Routing, balance_losses

E, N = 4, 64
AT_BALANCE = {
    "switch": 1.0,
    "gshard": 1.0,
    "z": math.log(E) ** 2,
    "importance": 0.0,
    "load": 0.0,
    "entropy": 0.0,
}
AT_COLLAPSE = {"switch": E, "gshard": E, "importance": E - 1, "entropy": math.log(E)}


def record(logits: Tensor, k: int = 2) -> Routing:
    probabilities = logits.softmax(-1)
    weights, ids = probabilities.topk(k, dim=-1)
    return Routing(logits, probabilities, ids, weights / weights.sum(-1, keepdim=True))


def balanced() -> Routing:
    """Probabilities uniform, choices spread evenly."""
    ids = torch.stack([torch.arange(N) % E, (torch.arange(N) + 1) % E], dim=1)
    zeros = torch.zeros(N, E)
    return Routing(zeros, zeros.softmax(-1), ids, torch.full((N, 2), 0.5))


def collapsed(expert: int = 0) -> Routing:
    logits = torch.full((N, E), -30.0)
    logits[:, expert] = 30
    return record(logits, k=1)


@pytest.mark.parametrize("name", AT_BALANCE)
def test_value_at_perfect_balance(name: str) -> None:
    value = balance_losses([balanced()], None, [name])[name]
    assert value.item() == pytest.approx(AT_BALANCE[name], abs=1e-5)


@pytest.mark.parametrize("name", AT_COLLAPSE)
def test_value_at_collapse(name: str) -> None:
    value = balance_losses([collapsed()], None, [name])[name]
    assert value.item() == pytest.approx(AT_COLLAPSE[name], abs=1e-4)


def test_layers_are_not_pooled() -> None:
    opposite = [collapsed(0), collapsed(1)]
    assert balance_losses(opposite, None, ["switch"])["switch"].item() == pytest.approx(E)


@pytest.mark.parametrize("name", sorted(set(BALANCE_LOSSES) - {"orthogonality"}))
def test_padding_does_not_count(name: str) -> None:
    logits = torch.randn(12, E, generator=torch.Generator().manual_seed(0))
    real = record(logits[:8])
    padded = record(logits)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0]])
    padded = padded._replace(
        expert_ids=padded.expert_ids.masked_fill(mask.view(-1, 1) == 0, E),
        weights=padded.weights.masked_fill(mask.view(-1, 1) == 0, 0),
    )
    expected = balance_losses([real], None, [name])[name]
    torch.testing.assert_close(balance_losses([padded], mask, [name])[name], expected)


def test_switch_and_gshard_formulas() -> None:
    routing = record(torch.randn(50, E, generator=torch.Generator().manual_seed(1)))
    P = routing.probabilities.mean(0)
    all_choices = torch.tensor([(routing.expert_ids == e).sum() / 100 for e in range(E)])
    first = torch.tensor([(routing.expert_ids[:, 0] == e).sum() / 50 for e in range(E)])
    got = balance_losses([routing], None, ["switch", "gshard"])
    torch.testing.assert_close(got["switch"], E * (all_choices * P).sum())
    # GShard's l_aux = 1/E sum_e (c_e / S) m_e, times E^2
    torch.testing.assert_close(got["gshard"], E**2 * (first * P).mean())


@pytest.mark.parametrize("name", sorted(set(BALANCE_LOSSES) - {"orthogonality", "load"}))
def test_gradient_pushes_towards_balance(name: str) -> None:
    logits = torch.randn(256, E, generator=torch.Generator().manual_seed(2))
    logits[:, 0] += 1
    start = balance_losses([record(logits)], None, [name])[name].item()
    for _ in range(60):
        logits = logits.detach().requires_grad_()
        loss = balance_losses([record(logits)], None, [name])[name]
        (gradient,) = torch.autograd.grad(loss, logits)
        logits = logits - 20 * gradient
    assert balance_losses([record(logits)], None, [name])[name].item() < start


def test_orthogonality_of_experts() -> None:
    config = MoescopeConfig(
        hidden_size=4, num_attention_heads=1, moe_intermediate_size=4, num_experts=2
    )
    experts = MoescopeExperts(config)
    with torch.no_grad():
        experts.down_proj.zero_()
        experts.down_proj[0, 0, 0] = 2.0
        experts.down_proj[1, 0, 0] = 3.0
    routing = balanced()

    def loss() -> Tensor:
        return balance_losses([routing], None, ["orthogonality"], experts=[experts])[
            "orthogonality"
        ]

    assert loss().item() == pytest.approx(1)
    with torch.no_grad():
        experts.down_proj[1].zero_()
        experts.down_proj[1, 1, 1] = 3.0
    assert loss().item() == pytest.approx(0)
    with pytest.raises(ValueError, match="expert_modules"):
        balance_losses([routing], None, ["orthogonality"])


def test_dense_model_has_no_balance_loss() -> None:
    assert balance_losses([], None, ["switch"]) == {}
