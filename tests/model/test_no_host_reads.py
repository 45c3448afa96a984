"""Off the CPU no step waits for the host: on meta tensors, every read of a value raises."""

from typing import Any

import pytest
import torch
from torch import Tensor

from moescope.model import BALANCE_LOSSES, balance_losses
from tests.model import test_causal, test_encoder
from tests.model.test_encoder import VARIANTS, token_ids
from tests.model.test_routers import EVERY_ROUTER

WIDTHS: dict[str, Any] = {"moe_intermediate_size": 24, "num_hidden_layers": 1}


@pytest.fixture(autouse=True)
def autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Experts and loss as under bf16 autocast, which meta tensors do not have."""
    for module in ("modeling_moescope", "loss"):
        monkeypatch.setattr(f"moescope.model.{module}.autocast_dtype", lambda _: torch.bfloat16)


def on_meta(**tensors: Tensor) -> dict[str, Tensor]:
    return {name: tensor.to("meta") for name, tensor in tensors.items()}


def step(model: Any, inputs: dict[str, Tensor]) -> None:
    """Forward, balance losses, backward, clipping."""
    model.to("meta").train()
    output = model(**inputs, output_routing=True, output_logits=False)
    balance = balance_losses(
        output.routing,
        inputs["attention_mask"],
        list(BALANCE_LOSSES),
        experts=model.expert_modules(),
    )
    loss = output.loss + sum(balance.values())
    assert loss.device.type == "meta"
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    model.after_optimizer_step()


def encoder_inputs() -> dict[str, Tensor]:
    ids = token_ids(2, 8)
    return on_meta(
        input_ids=ids,
        labels=ids,
        label_positions=torch.arange(5),
        attention_mask=torch.ones_like(ids),
        metadata_ids=torch.zeros(2, dtype=torch.long),
    )


@pytest.mark.parametrize("case", EVERY_ROUTER)
def test_a_step_with_any_router(case: str) -> None:
    settings, k = EVERY_ROUTER[case]
    router = {"name": case.split("-")[0]} | settings
    step(test_encoder.build(num_experts_per_tok=k, router=router, **WIDTHS), encoder_inputs())


@pytest.mark.parametrize("variant", sorted(set(VARIANTS) - {"dense"}))
def test_a_step_of_any_encoder(variant: str) -> None:
    overrides = {"first_k_dense": 0} if variant == "learned" else {}
    step(test_encoder.build(**VARIANTS[variant] | WIDTHS | overrides), encoder_inputs())


@pytest.mark.parametrize("said", ["nothing", "padding", "documents"])
def test_a_step_of_a_decoder(said: str) -> None:
    ids = token_ids(2, 8)
    inputs = {"input_ids": ids, "labels": ids, "attention_mask": torch.ones_like(ids)}
    if said != "nothing":
        inputs["segment_starts"] = torch.tensor([0, 8, 12, 16])
    if said == "documents":
        inputs |= {"segment_ids": ids // 50, "position_ids": ids}
    model = test_causal.build(**WIDTHS)
    model.config.use_cache = False
    step(model, on_meta(**inputs))


def test_a_read_would_be_noticed() -> None:
    inputs = encoder_inputs()
    del inputs["label_positions"]  # the model then looks for the labels itself
    with pytest.raises(NotImplementedError, match="nonzero"):
        step(test_encoder.build(**WIDTHS), inputs)
