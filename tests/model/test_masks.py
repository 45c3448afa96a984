"""Which mask attention gets: none where none is needed; outputs are the same without it."""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from moescope.model import MoescopeForCausalLM, MoescopeForMaskedLM
from moescope.model.masks import RowLayout, find_segment_starts
from tests.model import test_causal, test_encoder
from tests.model.test_encoder import token_ids

PADDED = torch.tensor([[1] * 8, [1] * 5 + [0] * 3])
SEGMENTS = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1, 1, 1]])
WHOLE_STARTS = torch.tensor([0, 8, 16])
PADDED_STARTS = torch.tensor([0, 8, 13, 16])
PACKED_STARTS = torch.tensor([0, 3, 8, 10, 13, 16])


class Call(NamedTuple):
    """What scaled_dot_product_attention was given."""

    mask: Tensor | None
    is_causal: bool


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    seen: list[Call] = []
    attend: Callable[..., Tensor] = torch.nn.functional.scaled_dot_product_attention

    def recorded(*tensors: Tensor, attn_mask: Tensor | None, is_causal: bool, **given: Any) -> Any:
        seen.append(Call(attn_mask, is_causal))
        return attend(*tensors, attn_mask=attn_mask, is_causal=is_causal, **given)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", recorded)
    return seen


def build(*, causal: bool, **overrides: Any) -> MoescopeForCausalLM | MoescopeForMaskedLM:
    return (test_causal if causal else test_encoder).build(num_hidden_layers=1, **overrides)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    "said",
    [
        {},
        {"attention_mask": torch.ones(2, 8).long()},
        {"attention_mask": torch.ones(2, 8).long(), "segment_starts": WHOLE_STARTS},
        {"segment_ids": torch.zeros(2, 8).long(), "segment_starts": WHOLE_STARTS},
    ],
)
def test_whole_rows_need_no_mask(causal: bool, said: dict[str, Tensor], calls: list[Call]) -> None:
    build(causal=causal)(token_ids(2, 8), **said)
    assert calls == [Call(None, causal)]


def test_a_decoder_needs_no_mask_against_padding_at_the_right(calls: list[Call]) -> None:
    model, ids = build(causal=True), token_ids(2, 8)
    expected = model(ids, attention_mask=PADDED).logits
    got = model(ids, attention_mask=PADDED, segment_starts=PADDED_STARTS).logits
    assert calls[0].mask is not None
    assert calls[1] == Call(None, True)
    real = PADDED.bool()
    torch.testing.assert_close(got[real], expected[real], rtol=1e-4, atol=1e-5)


def test_padding_at_the_left_of_a_decoder_is_not_seen(calls: list[Call]) -> None:
    model, ids = build(causal=True), token_ids(1, 8)
    mask = torch.tensor([[0, 0, 1, 1, 1, 1, 1, 1]])
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    padded = model(ids, attention_mask=mask, position_ids=positions).logits[:, 2:]
    assert padded.isfinite().all()
    torch.testing.assert_close(padded, model(ids[:, 2:]).logits, rtol=1e-4, atol=1e-5)


def test_an_encoder_gets_one_row_of_mask_against_padding(calls: list[Call]) -> None:
    model, ids = build(causal=False), token_ids(2, 8)
    padded = model(ids, attention_mask=PADDED, segment_starts=PADDED_STARTS).logits
    assert calls[0].mask is not None
    assert calls[0].mask.shape == (2, 1, 1, 8)
    torch.testing.assert_close(padded[1:, :5], model(ids[1:, :5]).logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_packed_documents_are_as_if_alone(causal: bool, implementation: str) -> None:
    model, ids = build(causal=causal), token_ids(2, 8)
    model.set_attn_implementation(implementation)
    positions = torch.tensor([[0, 1, 2, 0, 1, 2, 3, 4], [0, 1, 0, 1, 2, 0, 0, 0]])
    arguments = {"attention_mask": PADDED, "segment_ids": SEGMENTS, "position_ids": positions}
    for starts in (None, PACKED_STARTS):
        packed = model(ids, **arguments, segment_starts=starts).logits
        for row, first, end in ((0, 0, 3), (0, 3, 8), (1, 0, 2), (1, 2, 5)):
            alone = model(ids[row : row + 1, first:end]).logits[0]
            torch.testing.assert_close(packed[row, first:end], alone, rtol=1e-4, atol=1e-5)


def test_positions_that_restart_part_the_documents_of_a_decoder() -> None:
    model, ids = build(causal=True), token_ids(1, 8)
    positions = torch.tensor([[0, 1, 2, 0, 1, 2, 3, 4]])
    packed = model(ids, position_ids=positions).logits
    torch.testing.assert_close(packed[:, 3:], model(ids[:, 3:]).logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("given", [True, False])
def test_flash_attention_gets_documents_instead_of_a_mask(
    causal: bool, given: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Any]] = []

    def flash(
        module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, **said: Any
    ) -> Any:
        """A slow twin of flash attention over documents of different lengths."""
        assert mask is None
        seen.append(said)
        q, k, v = (x.transpose(1, 2).flatten(0, 1).transpose(0, 1) for x in (query, key, value))
        output = torch.zeros_like(q)
        starts = said["cu_seq_lens_q"].tolist()
        for first, end in itertools.pairwise(starts):
            assert end - first <= said["max_length_q"]
            part = (x[:, first:end] for x in (q, k, v))
            output[:, first:end] = torch.nn.functional.scaled_dot_product_attention(
                *part, is_causal=module.is_causal, scale=said["scaling"]
            )
        return output.transpose(0, 1).unflatten(0, (2, 8)), None

    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS._global_mapping, "flash_attention_2", flash)
    model, ids = build(causal=causal), token_ids(2, 8)
    positions = torch.tensor([[0, 1, 2, 0, 1, 2, 3, 4], [0, 1, 0, 1, 2, 0, 0, 0]])
    arguments = {"attention_mask": PADDED, "segment_ids": SEGMENTS, "position_ids": positions}
    expected = model(ids, **arguments).logits[PADDED.bool()]
    model.config._attn_implementation = "flash_attention_2"
    got = model(ids, **arguments, segment_starts=PACKED_STARTS if given else None).logits
    torch.testing.assert_close(got[PADDED.bool()], expected, rtol=1e-4, atol=1e-5)
    assert seen[0]["cu_seq_lens_k"].dtype == torch.int32


def test_starts_are_found_where_nobody_gives_them() -> None:
    assert torch.equal(find_segment_starts(RowLayout(PADDED, SEGMENTS, None)), PACKED_STARTS)
    assert torch.equal(find_segment_starts(RowLayout(PADDED, None, None)), PADDED_STARTS)
