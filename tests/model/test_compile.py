"""torch.compile without graph breaks, and no synchronisation on CUDA."""

import pytest
import torch
from torch import Tensor

from moescope.model import balance_losses
from tests.model import test_causal
from tests.model.test_encoder import VARIANTS, build, token_ids
from tests.model.test_routers import EVERY_ROUTER


@pytest.mark.parametrize("variant", ["default", "source"])
def test_training_step_is_one_graph(variant: str) -> None:
    overrides = VARIANTS[variant] | {"num_hidden_layers": 1}
    model, ids = build(**overrides).train(), token_ids(2, 8)
    if "router" in overrides:
        model.eval()  # its jitter draws other numbers when compiled
    labels = ids.where(token_ids(2, 8, seed=5) < 30, -100)
    positions = (labels.view(-1) != -100).nonzero().squeeze(-1)
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    arguments = {"attention_mask": mask, "labels": labels, "label_positions": positions}
    expected = model(ids, **arguments, output_routing=True)
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    got = compiled(ids, **arguments, output_routing=True)
    torch.testing.assert_close(got.loss, expected.loss, rtol=1e-4, atol=1e-5)
    got.loss.backward()
    assert all(p.grad is not None for p in model.parameters())


def test_a_decoders_training_step_is_one_graph() -> None:
    model, ids = test_causal.build(num_hidden_layers=1).train(), token_ids(2, 8)
    model.config.use_cache = False
    starts = torch.tensor([0, 8, 14, 16])
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0

    def step(ids: Tensor) -> tuple[Tensor, Tensor]:
        output = model(
            ids,
            attention_mask=mask,
            segment_starts=starts,
            labels=ids,
            output_routing=True,
            output_logits=False,
        )
        balance = balance_losses(output.routing, mask, ["switch"])
        return output.loss + balance["switch"], output.correct

    torch._dynamo.reset()
    results = []
    for run in (step, torch.compile(step, fullgraph=True, backend="aot_eager")):
        model.zero_grad()
        loss, correct = run(ids)
        loss.backward()
        gradients = [parameter.grad.clone() for parameter in model.parameters()]
        results.append([loss.detach(), correct, *gradients])
    for got, expected in zip(*reversed(results), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("case", EVERY_ROUTER)
def test_no_synchronisation_on_cuda(case: str) -> None:
    settings, k = EVERY_ROUTER[case]
    router = {"name": case.split("-")[0]} | settings
    model = build(num_experts_per_tok=k, router=router).cuda().train()
    ids = token_ids(2, 8).cuda()
    positions = torch.arange(5).cuda()
    arguments = {
        "labels": ids,
        "label_positions": positions,
        "attention_mask": torch.ones_like(ids),
        "metadata_ids": torch.zeros(2, dtype=torch.long, device="cuda"),
    }
    model(ids, **arguments).loss.backward()
    torch.cuda.set_sync_debug_mode("error")
    try:
        model(ids, **arguments).loss.backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
