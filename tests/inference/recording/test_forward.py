"""What the observer derives from a router's record."""

import math

import torch

from moescope.inference.recording.forward import router_confidence
from moescope.model.routing import Routing


def test_confidence_equals_a_slow_twin_with_empty_and_overruled_slots() -> None:
    generator = torch.Generator().manual_seed(0)
    p = torch.rand((40, 5), generator=generator).softmax(-1)
    ids = torch.rand((40, 5), generator=generator).topk(2, -1).indices  # not the likeliest ones
    ids[3, 1], ids[7] = 5, 5  # a slot and a whole row without an expert
    real = torch.arange(0, 40, 3)
    real = torch.cat([real, torch.tensor([7])]).sort().values
    routing = Routing(logits=p.log(), probabilities=p, expert_ids=ids, weights=torch.ones(40, 2))
    seen = router_confidence([routing, routing], real)
    assert seen.shape == (len(real), 2, 3)
    assert torch.equal(seen[:, 0], seen[:, 1])
    for row, (entropy, mass, margin) in zip(real.tolist(), seen[:, 0].tolist(), strict=True):
        belief = p[row].tolist()
        chosen = [expert for expert in ids[row].tolist() if expert < 5]
        others = [belief[expert] for expert in range(5) if expert not in chosen]
        assert math.isclose(entropy, -sum(q * math.log(q) for q in belief), rel_tol=1e-5)
        assert math.isclose(mass, sum(belief[expert] for expert in chosen), rel_tol=1e-5)
        weakest = min((belief[expert] for expert in chosen), default=max(others))
        assert math.isclose(margin, weakest - max(others), rel_tol=1e-5, abs_tol=1e-7)
    assert (seen[..., 2] < 0).any()


def test_every_expert_chosen_leaves_no_other() -> None:
    p = torch.tensor([[0.7, 0.3]])
    ids = torch.tensor([[0, 1]])
    routing = Routing(p.log(), p, ids, torch.ones(1, 2))
    mass, margin = router_confidence([routing], torch.tensor([0]))[0, 0, 1:].tolist()
    assert math.isclose(mass, 1.0, rel_tol=1e-6)
    assert math.isclose(margin, 0.3, rel_tol=1e-6)
