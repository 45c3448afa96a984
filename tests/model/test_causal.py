"""The decoder: causality, cache, shifted loss."""

from typing import Any

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from moescope.model import MoescopeConfig, MoescopeForCausalLM, MoescopeForMaskedLM
from tests.model.test_encoder import token_ids


def build(**overrides: Any) -> MoescopeForCausalLM:
    torch.manual_seed(0)
    arguments: dict[str, Any] = {
        "vocab_size": 90,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "moe_intermediate_size": 24,
        "num_experts": 4,
        "initializer_range": 0.3,
        "is_causal": True,
    }
    return MoescopeForCausalLM(MoescopeConfig(**arguments | overrides)).eval()


@pytest.mark.parametrize("position_type", ["rope", "learned", "sinusoidal"])
def test_the_future_changes_nothing_and_the_cache_neither(position_type: str) -> None:
    model, ids = build(position_type=position_type), token_ids(2, 9)
    full = model(ids).logits
    changed = ids.clone()
    changed[:, 6:] = (changed[:, 6:] + 1) % 90
    torch.testing.assert_close(model(changed).logits[:, :6], full[:, :6], rtol=1e-4, atol=1e-5)
    first = model(ids[:, :5], use_cache=True)
    rest = model(ids[:, 5:], past_key_values=first.past_key_values, use_cache=True)
    torch.testing.assert_close(rest.logits, full[:, 5:], rtol=1e-4, atol=1e-5)


def test_packed_documents_do_not_see_each_other() -> None:
    model, first, second = build(), token_ids(1, 5, seed=3), token_ids(1, 7, seed=4)
    packed = model(
        torch.cat([first, second], 1),
        position_ids=torch.cat([torch.arange(5), torch.arange(7)])[None],
        segment_ids=torch.tensor([[0] * 5 + [1] * 7]),
    ).logits
    torch.testing.assert_close(packed[:, 5:], model(second).logits, rtol=1e-4, atol=1e-5)


def test_loss_scores_the_next_token() -> None:
    model, ids = build(), token_ids(2, 9)
    output = model(ids, labels=ids)
    expected = torch.nn.functional.cross_entropy(
        output.logits[:, :-1].reshape(-1, 90), ids[:, 1:].reshape(-1)
    )
    torch.testing.assert_close(output.loss, expected)


def test_metadata_ids_pass_through_generate() -> None:
    model = build(router={"name": "masked", "values": [0, 1], "policy": "exact"})
    ids = token_ids(2, 4)
    early, late = (
        model.generate(
            ids,
            metadata_ids=torch.tensor([value, value]),
            max_new_tokens=8,
            do_sample=False,
            pad_token_id=0,
        )
        for value in (0, 1)
    )
    assert early.shape == (2, 12)
    assert not torch.equal(early, late)


def test_heads_refuse_the_other_kind_of_model() -> None:
    with pytest.raises(ValueError, match="is_causal=True"):
        MoescopeForCausalLM(MoescopeConfig())
    with pytest.raises(ValueError, match="is_causal=False"):
        MoescopeForMaskedLM(MoescopeConfig(is_causal=True))
    with pytest.raises(StrictDataclassError, match="leaks the future"):
        MoescopeConfig(is_causal=True, router={"name": "expert_choice"})
