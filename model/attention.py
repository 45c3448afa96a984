"""Multi-head attention with grouped keys, rotary positions and QK norm; positions and norms."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS


def build_norm(config: Any, width: int) -> nn.Module:
    """LayerNorm or RMSNorm by `norm_type`."""
    norm = nn.LayerNorm if config.norm_type == "layer" else nn.RMSNorm
    return norm(width, eps=config.norm_eps)


def rotary_cos_sin(position_ids: Tensor, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """RoPE (arXiv 2104.09864): cos and sin, each (B or 1, 1, S, head_dim), float32."""
    exponent = torch.arange(0, head_dim, 2, device=position_ids.device).float() / head_dim
    angles = position_ids[:, None, :, None].float() * theta**-exponent
    angles = torch.cat([angles, angles], dim=-1)  # (B, 1, S, head_dim), halves share angles
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply the rotation to (B, H, S, head_dim), in float32."""
    # x cos + turn(x) sin, where turn maps the halves (a, b) of a head to (-b, a)
    first, second = x.float().chunk(2, dim=-1)
    turned = torch.cat([-second, first], dim=-1)
    return torch.addcmul(x * cos, turned, sin).to(x.dtype)


def sinusoidal_positions(position_ids: Tensor, width: int) -> Tensor:
    """Fixed positions of Vaswani et al. (arXiv 1706.03762), (B or 1, S, width), float32."""
    half = (width + 1) // 2
    frequency = 10000.0 ** -(torch.arange(half, device=position_ids.device).float() / half)
    angles = position_ids[..., None].float() * frequency
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)[..., :width]


def eager_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """Attention that forms the matrix of scores.

    Returns:
        The output (B, S, H, head_dim) and the shares of attention (B, H, S, S_kv).
    """
    key = key.repeat_interleave(module.num_key_value_groups, dim=1)
    value = value.repeat_interleave(module.num_key_value_groups, dim=1)
    scores = query @ key.transpose(2, 3) * scaling
    if attention_mask is not None:  # 0 where a key may be seen, -inf elsewhere
        scores = scores + attention_mask
    shares = scores.softmax(-1, dtype=torch.float32).to(query.dtype)
    shares = nn.functional.dropout(shares, dropout, module.training)
    return (shares @ value).transpose(1, 2), shares


class MoescopeAttention(nn.Module):
    """Multi-head attention, bidirectional or causal by `config.is_causal`.

    Scores are divided by the root of the head width. With fewer key/value heads than heads (GQA,
    arXiv 2305.13245) each of them serves `num_key_value_groups` heads.
    """

    def __init__(self, config: Any, layer_idx: int) -> None:
        super().__init__()
        self.config = config
        self.layer_idx = layer_idx
        self.is_causal: bool = config.is_causal
        self.head_dim: int = config.attention_head_dim
        self.scaling = self.head_dim**-0.5
        self.num_key_value_groups = config.num_attention_heads // config.num_key_value_heads
        width, bias = config.hidden_size, config.attention_bias
        query_width = config.num_attention_heads * self.head_dim
        key_width = config.num_key_value_heads * self.head_dim
        self.q_proj = nn.Linear(width, query_width, bias=bias)
        self.k_proj = nn.Linear(width, key_width, bias=bias)
        self.v_proj = nn.Linear(width, key_width, bias=bias)
        self.o_proj = nn.Linear(query_width, width, bias=bias)
        self.q_norm = self.k_norm = None
        if config.qk_norm:
            per_head = config.qk_norm_per_head
            self.q_norm = nn.RMSNorm(self.head_dim if per_head else query_width, config.norm_eps)
            self.k_norm = nn.RMSNorm(self.head_dim if per_head else key_width, config.norm_eps)

    def _heads(self, x: Tensor, norm: nn.Module | None) -> Tensor:
        """(B, S, H * head_dim) -> (B, H, S, head_dim), normalised per head or as a whole."""
        per_head = self.config.qk_norm_per_head
        if norm is not None and not per_head:
            x = norm(x)
        x = x.unflatten(-1, (-1, self.head_dim))
        if norm is not None and per_head:
            x = norm(x)
        return x.transpose(1, 2)

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        cos_sin: tuple[Tensor, Tensor] | None = None,
        past_key_values: Cache | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        query = self._heads(self.q_proj(hidden_states), self.q_norm)
        key = self._heads(self.k_proj(hidden_states), self.k_norm)
        value = self._heads(self.v_proj(hidden_states), None)
        if cos_sin is not None:
            query, key = rotate(query, *cos_sin), rotate(key, *cos_sin)
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention
        )
        output, shares = attend(
            self,
            query,
            key,
            value,
            attention_mask,
            scaling=self.scaling,
            dropout=self.config.dropout if self.training else 0.0,
            **kwargs,
        )
        return self.o_proj(output.flatten(-2)), shares
