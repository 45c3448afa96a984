"""Global balance: processes that share their load see the loss of one process with all the text."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from model import balance_losses
from model.routing import Routing

NUM_EXPERTS, ROWS = 4, 24


def routing_of(logits: Tensor) -> Routing:
    probabilities = logits.softmax(-1)
    weights, ids = probabilities.topk(2, dim=-1)
    return Routing(logits, probabilities, ids, weights)


def logits_of(rank: int) -> Tensor:
    """Each process has text of its own kind: other experts are preferred."""
    generator = torch.Generator().manual_seed(rank)
    return torch.randn(ROWS, NUM_EXPERTS, generator=generator) + 2 * torch.eye(NUM_EXPERTS)[rank]


def switch(logits: Tensor, scope: str) -> tuple[Tensor, Tensor]:
    logits = logits.clone().requires_grad_()
    loss = balance_losses([routing_of(logits)], None, ["switch"], scope=scope)["switch"]  # type: ignore[arg-type]
    return loss.detach(), torch.autograd.grad(loss, logits)[0]


def one_process(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    results = {scope: switch(logits_of(rank), scope) for scope in ("global", "local")}
    torch.save(results, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_available(), reason="torch without torch.distributed")
def test_global_scope_equals_one_process_with_both_batches(tmp_path: Path) -> None:
    spawn(one_process, args=(str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    loss, gradient = switch(torch.cat([logits_of(0), logits_of(1)]), "local")
    torch.testing.assert_close((first["global"][0] + second["global"][0]) / 2, loss)
    # data parallelism averages gradients: each process's half of the rows, over two
    joined = torch.cat([first["global"][1], second["global"][1]]) / 2
    torch.testing.assert_close(joined, gradient)
    assert (first["local"][0] + second["local"][0]) / 2 > loss + 0.1
