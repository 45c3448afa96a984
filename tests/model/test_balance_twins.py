"""Each balance loss against a slow twin written from its paper, one token at a time.

The routings are uneven, so that mean and square, weight and probability, first and any choice,
real and padded tokens all differ: a formula that mixes two of them gives another number.
"""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from moescope.model import BALANCE_LOSSES, Routing, balance_losses

E, N, K = 4, 24, 2
MASK = torch.ones(4, 6, dtype=torch.long)
MASK[1, 4:] = MASK[3, 2:] = 0
REAL = [n for n in range(N) if MASK.view(-1)[n]]
LEARNT = sorted(set(BALANCE_LOSSES) - {"orthogonality"})


def uneven(seed: int = 0) -> Routing:
    """Skewed scores, weights that are neither probabilities nor sum to one, drops, a load."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(N, E, generator=generator) + torch.tensor([1.5, 0.5, 0.0, -1.0])
    probabilities = logits.softmax(-1)
    weights, ids = probabilities.topk(K, dim=-1)
    weights = weights.sqrt()
    dropped = torch.rand(N, K, generator=generator) < 0.2
    padded = MASK.view(-1, 1) == 0
    ids, weights = ids.masked_fill(padded, E), weights.masked_fill(padded | dropped, 0)
    load = torch.tensor([9.0, 4.0, 2.5, 0.5])
    return Routing(logits, probabilities, ids, weights, dropped & ~padded, load)


def choices(routing: Routing, slots: int) -> list[float]:
    """Share of the first `slots` choices of real tokens that fell on each expert."""
    counts = [0.0] * E
    for n in REAL:
        for slot in range(slots):
            counts[int(routing.expert_ids[n, slot])] += 1
    return [count / sum(counts) for count in counts]


def mean_probability(routing: Routing) -> list[float]:
    return [sum(float(routing.probabilities[n, e]) for n in REAL) / len(REAL) for e in range(E)]


def squared_variation(values: list[float]) -> float:
    mean = sum(values) / E
    return sum((value - mean) ** 2 for value in values) / E / mean**2


def switch(routing: Routing) -> float:
    f, P = choices(routing, K), mean_probability(routing)
    return E * sum(f[e] * P[e] for e in range(E))


def gshard(routing: Routing) -> float:
    f, P = choices(routing, 1), mean_probability(routing)
    return E * sum(f[e] * P[e] for e in range(E))


def z(routing: Routing) -> float:
    total = 0.0
    for n in REAL:  # the square of each token's logsumexp, and then the mean
        total += math.log(sum(math.exp(float(x)) for x in routing.logits[n])) ** 2
    return total / len(REAL)


def importance(routing: Routing) -> float:
    total = [0.0] * E  # of the weights that an expert's outputs are multiplied with
    for n in REAL:
        for slot in range(K):
            total[int(routing.expert_ids[n, slot])] += float(routing.weights[n, slot])
    return squared_variation(total)


def load(routing: Routing) -> float:
    assert routing.load is not None
    return squared_variation(routing.load.tolist())


def entropy(routing: Routing) -> float:
    return math.log(E) + sum(p * math.log(p) for p in mean_probability(routing))


TWINS: dict[str, Callable[[Routing], float]] = {
    "switch": switch,
    "gshard": gshard,
    "z": z,
    "importance": importance,
    "load": load,
    "entropy": entropy,
}


def test_every_loss_over_tokens_has_a_twin() -> None:
    assert sorted(TWINS) == LEARNT


@pytest.mark.parametrize("name", LEARNT)
def test_value_is_the_twins(name: str) -> None:
    routings = [uneven(seed) for seed in range(3)]
    expected = sum(TWINS[name](routing) for routing in routings) / 3
    got = balance_losses(routings, MASK, [name])[name].item()
    assert got == pytest.approx(expected, rel=1e-5)


def gradient(name: str, field: str, routing: Routing) -> Tensor:
    """Of a loss after one field of the routing; zeros where it does not depend on it."""
    value: Tensor = getattr(routing, field).clone().requires_grad_()
    loss = balance_losses([routing._replace(**{field: value})], MASK, [name])[name]
    if not loss.requires_grad:
        return torch.zeros_like(value)
    (found,) = torch.autograd.grad(loss, value, allow_unused=True)
    return torch.zeros_like(value) if found is None else found


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("switch", "probabilities"),
        ("gshard", "probabilities"),
        ("entropy", "probabilities"),
        ("z", "logits"),
        ("importance", "weights"),
        ("load", "load"),
    ],
)
def test_gradient_is_the_twins_and_nothing_else_gets_any(name: str, field: str) -> None:
    routing, step = uneven(), 1e-3
    found = gradient(name, field, routing)
    value: Tensor = getattr(routing, field).double()
    executed = torch.ones_like(value) > 0
    if field == "weights":
        executed = routing.dispatched_ids() < E
    elif field in ("logits", "probabilities"):
        executed = executed & (MASK.view(-1, 1) > 0)
    for place in executed.nonzero()[::5].tolist():
        sides = []
        for direction in (step, -step):
            moved = value.clone()
            moved[tuple(place)] += direction
            sides.append(TWINS[name](routing._replace(**{field: moved})))
        expected = (sides[0] - sides[1]) / (2 * step)
        assert found[tuple(place)].item() == pytest.approx(expected, rel=1e-3, abs=1e-5)
    assert found.abs().sum() > 0
    assert found[~executed].abs().sum() == 0  # padding and drops
    for other in {"logits", "probabilities", "weights", "load"} - {field}:
        assert gradient(name, other, routing).abs().sum() == 0


def test_dropped_choices_count_as_choices_but_bring_no_weight() -> None:
    kept = uneven()._replace(dropped=None)
    dropped = kept._replace(dropped=torch.zeros(N, K, dtype=torch.bool))
    dropped.dropped[REAL[0], 0] = True  # type: ignore[index]
    for name in ("switch", "gshard"):
        values = [balance_losses([r], MASK, [name])[name] for r in (kept, dropped)]
        assert torch.equal(*values)
    values = [balance_losses([r], MASK, ["importance"])["importance"] for r in (kept, dropped)]
    assert not torch.equal(*values)


def test_z_loss_of_opposite_tokens_does_not_cancel() -> None:
    logits = torch.zeros(2, E)
    logits[0], logits[1] = 3 - math.log(E), -3 - math.log(E)  # logsumexp of 3 and -3
    routing = Routing(logits, logits.softmax(-1), torch.zeros(2, 1).long(), torch.ones(2, 1))
    assert balance_losses([routing], None, ["z"])["z"].item() == pytest.approx(9, rel=1e-5)
