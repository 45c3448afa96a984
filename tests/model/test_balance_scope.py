"""Global balance: processes see the losses and gradients of one process with all their text."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from moescope.model import balance_losses
from moescope.model.routing import Routing

NUM_EXPERTS = 4
NAMES = ("switch", "gshard", "z", "importance", "load", "entropy")


def routing_of(logits: Tensor) -> Routing:
    probabilities = logits.softmax(-1)
    weights, ids = probabilities.topk(2, dim=-1)
    return Routing(logits, probabilities, ids, weights, load=probabilities.square().sum(0))


def logits_of(rank: int) -> Tensor:
    """Each process has text of its own kind and length: other experts are preferred."""
    generator = torch.Generator().manual_seed(rank)
    rows = 24 - 8 * rank
    return torch.randn(rows, NUM_EXPERTS, generator=generator) + 2 * torch.eye(NUM_EXPERTS)[rank]


def losses(logits: Tensor, scope: str) -> dict[str, tuple[Tensor, Tensor]]:
    """Each loss and its gradient, with (scope) one process's own or all processes' statistics."""
    results = {}
    for name in NAMES:
        leaf = logits.clone().requires_grad_()
        loss = balance_losses([routing_of(leaf)], None, [name], scope=scope)[name]  # type: ignore[arg-type]
        results[name] = (loss.detach(), torch.autograd.grad(loss, leaf)[0])
    return results


def one_process(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    results = {scope: losses(logits_of(rank), scope) for scope in ("global", "local")}
    torch.save(results, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_available(), reason="torch without torch.distributed")
def test_global_scope_equals_one_process_with_both_batches(tmp_path: Path) -> None:
    spawn(one_process, args=(str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    together = losses(torch.cat([logits_of(0), logits_of(1)]), "local")
    for name, (loss, gradient) in together.items():
        (a, grad_a), (b, grad_b) = first["global"][name], second["global"][name]
        torch.testing.assert_close((a + b) / 2, loss, msg=lambda m, n=name: f"{n}: {m}")
        # data parallelism averages the gradients of a parameter: here each row has its own
        joined = torch.cat([grad_a, grad_b]) / 2
        torch.testing.assert_close(joined, gradient, msg=lambda m, n=name: f"{n}: {m}")
    for name in ("switch", "gshard", "importance", "load", "entropy"):
        local = (first["local"][name][0] + second["local"][name][0]) / 2
        assert local > together[name][0] + 0.1, name
