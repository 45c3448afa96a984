"""The loss in chunks against the plain one: values, every gradient, and memory."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from moescope.model import loss as losses
from tests.model import test_causal, test_encoder
from tests.model.test_encoder import token_ids

BF16: dict[str, Any] = {"device_type": "cpu", "dtype": torch.bfloat16}
HEADS: dict[str, dict[str, Any]] = {
    "tied": {},
    "own": {"tie_word_embeddings": False, "head_bias": True, "head_transform": True},
}


def some_labels(ids: Tensor) -> Tensor:
    return ids.where(token_ids(*ids.shape, seed=5) < 40, -100)


@pytest.mark.parametrize("num_items", [None, 7, torch.tensor(7)])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("kind", [test_encoder, test_causal])
@pytest.mark.parametrize("rows", [1, 5, 1000])
def test_loss_in_chunks_is_the_loss(
    kind: Any, head: str, num_items: Any, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losses, "CHUNK_LOGITS", rows * 90 + 1)
    model = kind.build(num_hidden_layers=1, **HEADS[head]).double().train()
    ids = token_ids(2, 9)
    arguments = {"labels": some_labels(ids), "num_items_in_batch": num_items}
    model.config.use_cache = False
    results = []
    for output_logits in (True, False):
        model.zero_grad()
        output = model(ids, **arguments, output_logits=output_logits)
        (3 * output.loss).backward()
        results.append([output.loss.detach(), *[p.grad for p in model.parameters()]])
        if output_logits:
            logits = output.logits.flatten(0, -2)
            labels = arguments["labels"]
            targets = labels[labels != -100]
            if kind is test_causal:
                targets = torch.nn.functional.pad(labels[:, 1:], (0, 1), value=-100).view(-1)
            hits = (logits.argmax(-1) == targets).sum()
    assert output.logits is None
    assert output.correct == hits
    for got, expected in zip(*reversed(results), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)


def test_without_labels_the_loss_and_its_gradients_are_zero() -> None:
    model, ids = test_encoder.build().train(), token_ids(2, 4)
    loss = model(ids, labels=torch.full_like(ids, -100), output_logits=False).loss
    loss.backward()
    assert loss == 0
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


def test_under_autocast_gradients_are_within_the_rounding_of_bf16() -> None:
    generator = torch.Generator().manual_seed(0)
    projection = torch.nn.Linear(16, 40)
    hidden = torch.randn(30, 16, generator=generator)
    targets = torch.randint(0, 40, (30,), generator=generator)
    results = []
    for enabled in (False, True):
        projection.zero_grad()
        x = hidden.clone().requires_grad_()
        with torch.autocast(**BF16, enabled=enabled):
            loss, _ = losses.chunked_loss(x, projection, targets, None)
        loss.backward()
        assert loss.dtype == x.grad.dtype == projection.weight.grad.dtype == torch.float32  # type: ignore[union-attr]
        results.append([loss.detach(), x.grad, projection.weight.grad, projection.bias.grad])
    for got, expected in zip(*reversed(results), strict=True):
        assert (got - expected).norm() / expected.norm() < 0.02
    assert not torch.equal(results[0][0], results[1][0])  # the products were in bf16


class LargestTensor(TorchDispatchMode):
    """Notes the most elements of a tensor that any operation returns."""

    elements = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        self.elements = max([self.elements, *sizes])
        return result


@pytest.mark.parametrize("kind", [test_encoder, test_causal])
def test_no_tensor_is_as_large_as_all_logits(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "CHUNK_LOGITS", 8 * 3000)
    model = kind.build(num_hidden_layers=1, vocab_size=3000, hidden_size=8).train()
    model.config.use_cache = False
    ids = token_ids(4, 16)
    largest = []
    for output_logits in (True, False):
        with LargestTensor() as watched:
            model(ids, labels=ids, output_logits=output_logits).loss.backward()
        largest.append(watched.elements)
    assert largest == [64 * 3000, 8 * 3000]
