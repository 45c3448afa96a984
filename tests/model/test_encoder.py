"""The encoder as a whole: attention, padding, packing, loss, save and load."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForMaskedLM

from moescope.model import MoescopeConfig, MoescopeForMaskedLM

VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "dense": {"num_experts": 0},
    "source": {
        "norm_position": "post",
        "position_type": "sinusoidal",
        "gated": False,
        "hidden_act": "relu",
        "attention_bias": True,
        "num_experts_per_tok": 1,
        "router": {"name": "switch", "jitter": 0.01},
    },
    "learned": {
        "position_type": "learned",
        "norm_type": "rms",
        "mlp_bias": True,
        "qk_norm": True,
        "num_shared_experts": 1,
        "first_k_dense": 1,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "router": {"name": "gshard"},
    },
}


def build(seed: int = 0, **overrides: Any) -> MoescopeForMaskedLM:
    torch.manual_seed(seed)
    arguments: dict[str, Any] = {
        "vocab_size": 90,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "moe_intermediate_size": 24,
        "num_experts": 4,
        "initializer_range": 0.3,
    }
    return MoescopeForMaskedLM(MoescopeConfig(**arguments | overrides)).eval()


def token_ids(*shape: int, seed: int = 1) -> Tensor:
    return torch.randint(0, 90, shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("variant", VARIANTS)
def test_attention_is_bidirectional(variant: str) -> None:
    model, ids = build(**VARIANTS[variant]), token_ids(1, 8)
    changed = ids.clone()
    changed[0, -1] = (ids[0, -1] + 1) % 90
    assert (model(ids).logits[0, 0] - model(changed).logits[0, 0]).abs().max() > 1e-4


@pytest.mark.parametrize("variant", VARIANTS)
def test_padding_changes_nothing(variant: str) -> None:
    model, ids = build(**VARIANTS[variant]), token_ids(2, 8)
    mask = torch.tensor([[1] * 8 + [0] * 4, [1] * 8 + [0] * 4])
    padded = torch.cat([ids, token_ids(2, 4, seed=2)], dim=1)
    alone = model(ids, output_routing=True)
    together = model(padded, attention_mask=mask, output_routing=True)
    torch.testing.assert_close(together.logits[:, :8], alone.logits, rtol=1e-4, atol=1e-5)
    for a, b in zip(alone.routing, together.routing, strict=True):
        torch.testing.assert_close(a.counts(), b.counts())
        assert (b.expert_ids.view(2, 12, -1)[:, 8:] == 4).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_packed_documents_do_not_see_each_other(variant: str) -> None:
    model = build(**VARIANTS[variant])
    first, second = token_ids(1, 5, seed=3), token_ids(1, 7, seed=4)
    packed = model(
        torch.cat([first, second], 1),
        position_ids=torch.cat([torch.arange(5), torch.arange(7)])[None],
        segment_ids=torch.tensor([[0] * 5 + [1] * 7]),
    ).logits
    torch.testing.assert_close(packed[:, :5], model(first).logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(packed[:, 5:], model(second).logits, rtol=1e-4, atol=1e-5)


def test_loss_at_label_positions_is_the_full_loss() -> None:
    model, ids = build(), token_ids(3, 9)
    labels = torch.where(
        torch.rand(3, 9, generator=torch.Generator().manual_seed(0)) < 0.3, ids, -100
    )
    rows = (labels.view(-1) != -100).nonzero().squeeze(-1)
    full = model(ids, labels=labels)
    few = model(ids, labels=labels, label_positions=rows)
    assert few.logits.shape == (len(rows), 90)
    assert full.logits.shape == (3, 9, 90)
    torch.testing.assert_close(few.loss, full.loss)
    expected = torch.nn.functional.cross_entropy(full.logits.view(-1, 90), labels.view(-1))
    torch.testing.assert_close(full.loss, expected)
    torch.testing.assert_close(
        model(ids, labels=labels, num_items_in_batch=2 * len(rows)).loss, full.loss / 2
    )


@pytest.mark.parametrize("positions", [None, torch.zeros(0, dtype=torch.long)])
def test_batch_without_a_label_gives_zero(positions: Tensor | None) -> None:
    model, ids = build().train(), token_ids(2, 6)
    loss = model(ids, labels=torch.full_like(ids, -100), label_positions=positions).loss
    loss.backward()
    assert loss.item() == 0
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients
    assert all((g == 0).all() for g in gradients)


@pytest.mark.parametrize("variant", VARIANTS)
def test_save_load_same_logits(variant: str, tmp_path: Path) -> None:
    model, ids = build(**VARIANTS[variant]), token_ids(2, 6)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForMaskedLM.from_pretrained(tmp_path).eval()
    assert loaded.config._experts_implementation == "moescope_cpu"
    assert loaded.loss_type == "ForMaskedLM"
    torch.testing.assert_close(loaded(ids).logits, model(ids).logits)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_parameter_gets_a_gradient(variant: str) -> None:
    model, ids = build(**VARIANTS[variant]).train(), token_ids(8, 12)
    model(ids, labels=ids).loss.backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


@pytest.mark.parametrize("implementation", ["eager", "flex_attention"])
@torch.no_grad()
def test_attention_implementations_agree(implementation: str) -> None:
    model, ids = build(), token_ids(2, 6)
    mask = torch.tensor([[1] * 6, [1] * 4 + [0] * 2])
    expected = model(ids, attention_mask=mask).logits
    model.set_attn_implementation(implementation)
    got = model(ids, attention_mask=mask).logits
    keep = mask.bool()
    torch.testing.assert_close(got[keep], expected[keep], rtol=1e-4, atol=1e-5)


def test_one_expert_is_a_dense_ffn() -> None:
    sparse = build(num_experts=1, num_experts_per_tok=1, moe_intermediate_size=64)
    dense = build(num_experts=0)
    state = {}
    for name, tensor in sparse.state_dict().items():
        if name.endswith("gate_up_proj"):
            gate, up = tensor[0].chunk(2)
            state[name.replace("experts.gate_up_proj", "gate_proj.weight")] = gate
            state[name.replace("experts.gate_up_proj", "up_proj.weight")] = up
        elif name.endswith("experts.down_proj"):
            state[name.replace("experts.down_proj", "down_proj.weight")] = tensor[0]
        elif ".gate.weight" not in name:
            state[name] = tensor
    dense.load_state_dict(state)
    ids = token_ids(2, 6)
    torch.testing.assert_close(sparse(ids).logits, dense(ids).logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("head", [False, True])
def test_spread_over_devices_it_computes_the_same(head: bool, tmp_path: Path) -> None:
    """accelerate took a module named `head` for a part of `lm_head`."""
    model, ids = build(head_transform=head), token_ids(2, 6)
    model.save_pretrained(tmp_path)
    room = sum(p.numel() * p.element_size() for p in model.parameters()) * 2 // 3
    spread = AutoModelForMaskedLM.from_pretrained(
        tmp_path, device_map="auto", max_memory={"cpu": room}, offload_folder=tmp_path / "disk"
    ).eval()
    assert set(spread.hf_device_map.values()) == {"cpu", "disk"}
    assert all(name.count(".") <= 2 for name in spread.hf_device_map)  # no layer is split
    torch.testing.assert_close(spread(ids).logits, model(ids).logits)


def test_files_of_when_the_transform_was_named_head_load(tmp_path: Path) -> None:
    model, ids = build(head_transform=True), token_ids(2, 6)
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    weights = {name.replace("transform.", "head."): w for name, w in load_file(file).items()}
    assert "head.dense.weight" in weights
    save_file(weights, file, metadata={"format": "pt"})
    again, report = AutoModelForMaskedLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    torch.testing.assert_close(again.eval()(ids).logits, model(ids).logits)
