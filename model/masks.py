"""What attention is told of padding and documents: the least that the chosen kernel needs.

Flash kernels take no mask, so none is built where the kernel's own causal flag, or nothing at all,
says the same. Nothing here reads a tensor on the host, except on a CPU, where that is free.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import Cache
from transformers.masking_utils import create_bidirectional_mask, create_causal_mask


class RowLayout(NamedTuple):
    """What stands where in a batch of B x S positions."""

    attention_mask: Tensor | None
    """(B, S), 0 at padding; None = no padding."""
    segment_ids: Tensor | None
    """(B, S) document of each position; None = one per row."""
    segment_starts: Tensor | None
    """(T + 1,) flat place of the first position of each document, then B * S; padding stands at
    the right of a row and counts as a document of its own. None = not known."""

    @property
    def is_unknown(self) -> bool:
        """Whether nothing was said of padding and documents."""
        return self.attention_mask is self.segment_ids is self.segment_starts is None

    def is_whole(self, batch_size: int) -> bool:
        """Whether every row is known to be one document without padding."""
        if self.segment_starts is not None:
            return len(self.segment_starts) == batch_size + 1
        return self.is_unknown


def attention_arguments(
    config: Any, hidden_states: Tensor, layout: RowLayout, past_key_values: Cache | None
) -> dict[str, Any]:
    """Return `attention_mask`, and for flash kernels where documents start.

    Args:
        config: says which attention, and whether it is causal.
        hidden_states: (B, S, D).
        layout: what stands where; with a cache its attention mask is (B, past + S).
        past_key_values: the cache, if there is one.
    """
    kind, mask = config._attn_implementation, layout.attention_mask
    batch_size, length = hidden_states.shape[:2]
    if past_key_values is not None or (mask is not None and mask.dim() == 4):
        return {"attention_mask": _library_mask(config, hidden_states, layout, past_key_values)}
    if config.is_causal and layout.segment_starts is not None:
        # padding stands at the right: no text comes after it
        layout = layout._replace(attention_mask=None)
        if layout.segment_ids is None:
            layout = RowLayout(None, None, None)
    if layout.is_whole(batch_size):
        layout = RowLayout(None, None, None)
    if "flash" in kind:
        if layout.segment_ids is None and layout.segment_starts is None:
            return {"attention_mask": layout.attention_mask}  # the library cuts padding out
        starts = layout.segment_starts
        if starts is None:
            starts = find_segment_starts(layout)
        return {"attention_mask": None} | _varlen_arguments(starts, length)
    if kind not in ("sdpa", "eager"):
        return {"attention_mask": _library_mask(config, hidden_states, layout, None)}
    visible = _visible(layout, hidden_states, is_causal=config.is_causal)
    if kind == "sdpa":
        return {"attention_mask": visible}
    if visible is None and config.is_causal:
        visible = _not_after(length, hidden_states.device)
    return {"attention_mask": None if visible is None else _additive(visible, hidden_states.dtype)}


def segments_of_positions(position_ids: Tensor, batch_size: int) -> Tensor:
    """(B, S) document of each position, where documents in a row restart their positions."""
    steps = position_ids.diff(dim=-1, prepend=position_ids[:, :1] - 1)
    return (steps != 1).cumsum(-1).expand(batch_size, -1)


def find_segment_starts(layout: RowLayout) -> Tensor:
    """Return the layout's `segment_starts`; reads their number on the host."""
    known = [part for part in (layout.segment_ids, layout.attention_mask) if part is not None]
    is_start = torch.zeros_like(known[0], dtype=torch.bool)
    is_start[:, 0] = True
    for part in known:
        is_start[:, 1:] |= part[:, 1:] != part[:, :-1]
    places = is_start.view(-1).nonzero().squeeze(-1)
    return torch.cat([places, places.new_tensor([is_start.numel()])])


def _visible(layout: RowLayout, hidden_states: Tensor, *, is_causal: bool) -> Tensor | None:
    """(B or 1, 1, S or 1, S) true where a key may be seen; None = all, or all before if causal."""
    segments, mask = layout.segment_ids, layout.attention_mask
    on_cpu = hidden_states.device.type == "cpu" and not torch.compiler.is_compiling()
    if mask is not None and on_cpu and bool(mask.all()):
        mask = None
    visible = None
    if segments is not None:
        visible = segments[:, None, :, None] == segments[:, None, None, :]
    if mask is not None:
        real = mask.bool()[:, None, None, :]
        visible = real if visible is None else visible & real
    if visible is not None and is_causal:
        visible = visible & _not_after(hidden_states.shape[1], hidden_states.device)
    return visible


def _not_after(length: int, device: torch.device) -> Tensor:
    """(1, 1, S, S) true where the key is not after the query."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()[None, None]


def _additive(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where a key may be seen, else the lowest number: a row without a key stays finite."""
    zero = torch.zeros((), dtype=dtype, device=visible.device)
    return torch.where(visible, zero, torch.finfo(dtype).min)


def _varlen_arguments(starts: Tensor, length: int) -> dict[str, Any]:
    """Return transformers' arguments for flash attention over documents of different lengths."""
    starts = starts.to(torch.int32)
    return {
        "cu_seq_lens_q": starts,
        "cu_seq_lens_k": starts,
        "max_length_q": length,  # an upper limit is enough, and known without a read
        "max_length_k": length,
    }


def _library_mask(
    config: Any, hidden_states: Tensor, layout: RowLayout, past_key_values: Cache | None
) -> Any:
    """Let transformers build the mask: for a cache, for flex attention, for a 4-D mask."""
    mask, segments = layout.attention_mask, layout.segment_ids
    arguments: dict[str, Any] = {"config": config, "inputs_embeds": hidden_states}
    if config._attn_implementation == "flex_attention" and past_key_values is None:
        # as a condition on keys: the library looks for padding on the host
        arguments["attention_mask"] = None
        arguments["and_mask_function"] = _same_segment_and_real(segments, mask)
    else:
        arguments["attention_mask"] = mask
        arguments["and_mask_function"] = _same_segment_and_real(segments, None)
    if config.is_causal:
        return create_causal_mask(**arguments, past_key_values=past_key_values)
    on_cpu = hidden_states.device.type == "cpu"
    return create_bidirectional_mask(**arguments, allow_is_bidirectional_skip=on_cpu)


def _same_segment_and_real(segments: Tensor | None, mask: Tensor | None) -> Any:
    """Return a condition on (batch, head, query, key) as flex attention takes it; None = all."""
    if segments is None and mask is None:
        return None
    real = None if mask is None else mask.bool()

    def visible(b: Tensor, h: Tensor, q: Tensor, kv: Tensor) -> Tensor:
        if segments is None:
            assert real is not None
            return real[b, kv]
        same = segments[b, q] == segments[b, kv]
        return same if real is None else same & real[b, kv]

    return visible
