"""No silent routers: the task's gradient reaches the gate of every shipped preset."""

from typing import Any

import pytest
import torch

from moescope.configs.cli import group_options
from moescope.configs.compose import compose_config
from moescope.model import MoescopeConfig, MoescopeForCausalLM, MoescopeForMaskedLM
from tests.model.test_encoder import token_ids

PRESETS = [
    *(f"router={name}" for name in group_options("router") if name not in ("hash", "masked")),
    *(f"model={name}" for name in group_options("model") if name != "olmoe"),  # 7 B parameters
]


@pytest.mark.parametrize("preset", PRESETS)
def test_task_gradient_reaches_the_router(preset: str) -> None:
    config = compose_config([preset])
    router: dict[str, Any] = config.router.model_dump()
    if not config.model.num_experts:
        pytest.skip(f"{preset} is dense by design")
    torch.manual_seed(0)
    architecture = MoescopeConfig(
        **config.model.model_dump(),
        vocab_size=90,
        num_experts_per_tok=router.pop("top_k"),
        router=router,
    )
    kind = MoescopeForCausalLM if architecture.is_causal else MoescopeForMaskedLM
    model, ids = kind(architecture).train(), token_ids(4, 16)
    output = model(ids, labels=ids, output_routing=True)
    output.loss.backward()
    gates = [p.grad for n, p in model.named_parameters() if n.endswith("mlp.gate.weight")]
    assert len(gates) == len(output.routing)
    for gradient in gates:
        assert gradient is not None
        assert gradient.abs().max() > 1e-7
