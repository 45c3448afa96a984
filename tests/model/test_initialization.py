"""Initial weights by scheme, and state that must survive saving."""

import math
from pathlib import Path

import pytest
import torch

from moescope.model import MoescopeForMaskedLM, Router
from tests.model.test_encoder import build, token_ids

LAYERS, STD = 8, 0.02


def model_with(scheme: str) -> MoescopeForMaskedLM:
    return build(
        hidden_size=128,
        moe_intermediate_size=96,
        num_hidden_layers=LAYERS,
        initializer_range=STD,
        init_scheme=scheme,
    )


@pytest.mark.parametrize(
    ("scheme", "inner", "residual"),
    [
        # a normal cut at 3 std keeps 0.9866 of its std
        ("truncated_normal", 0.9866 * STD, 0.9866 * STD / math.sqrt(2 * LAYERS)),
        ("normal", STD, STD),
        ("switch", 0.9866 * math.sqrt(0.1 / 128), 0.9866 * math.sqrt(0.1 / 96)),
    ],
)
def test_standard_deviations(scheme: str, inner: float, residual: float) -> None:
    model = model_with(scheme)
    experts = torch.stack([m.get_parameter("gate_up_proj") for m in model.expert_modules()])
    down = torch.stack([m.get_parameter("down_proj") for m in model.expert_modules()])
    gates = torch.stack([m.weight for m in model.modules() if isinstance(m, Router)])
    assert experts.std().item() == pytest.approx(inner, rel=0.02)
    assert gates.std().item() == pytest.approx(inner, rel=0.06)
    assert down.std().item() == pytest.approx(residual, rel=0.02)
    if scheme != "normal":
        assert experts.abs().max() <= 3.001 * inner / 0.9866
    assert not torch.equal(experts[0, 0], experts[0, 1])


def test_balancing_bias_is_saved_with_the_checkpoint(tmp_path: Path) -> None:
    model = build(router={"name": "sigmoid", "bias_update_rate": 0.1}).train()
    for _ in range(3):
        model(token_ids(4, 8))
        model.after_optimizer_step()
    bias = model.model.layers[0].mlp.gate.bias
    assert bias.any()
    model.save_pretrained(tmp_path)
    loaded = MoescopeForMaskedLM.from_pretrained(tmp_path).model.layers[0].mlp.gate
    assert torch.equal(loaded.bias, bias)
    assert not loaded.tokens_per_expert.any()


def test_metadata_table_survives_saving(tmp_path: Path) -> None:
    model = build(router={"name": "masked", "values": [0, 1]})
    model.save_pretrained(tmp_path)
    loaded = MoescopeForMaskedLM.from_pretrained(tmp_path).model.layers[0].mlp.gate
    assert torch.equal(loaded.permitted, model.model.layers[0].mlp.gate.permitted)


def test_gradient_checkpointing_changes_nothing() -> None:
    ids = token_ids(2, 8)
    plain, checkpointed = build().train(), build().train()
    checkpointed.activation_checkpointing_enable()
    gradients = []
    for model in (plain, checkpointed):
        model(ids, labels=ids).loss.backward()
        gradients.append(model.model.layers[0].mlp.experts.down_proj.grad)
    torch.testing.assert_close(*gradients)
