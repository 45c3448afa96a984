"""Configuration of the encoder and decoder."""

from dataclasses import field
from typing import Any, ClassVar, Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from .router import check_router


@strict
class MoescopeConfig(PreTrainedConfig):
    """Architecture of a moescope transformer, dense or mixture-of-experts.

    Fields whose meaning the name does not give away:

    - `head_dim`: None = hidden_size / num_attention_heads; may be wider than that.
    - `num_experts`: 0 = every block is dense. `moe_every` n: after `first_k_dense` dense blocks,
      each n-th block is MoE. `num_shared_experts`: experts that every token passes through, as
      one FFN of that many times `moe_intermediate_size`.
    - `embedding_norm`: a norm right after the embeddings (BERT). `norm_position="post"` has no
      final norm.
    - `qk_norm`: RMSNorm on queries and keys, per head (Qwen3) or over the whole projection
      (OLMoE) by `qk_norm_per_head`.
    - `head_transform`: the MLM head's dense, activation, norm before the decoder (BERT).
    - `init_scheme`: "truncated_normal" (std `initializer_range`, cut at 3 std, projections into
      the residual stream divided by sqrt(2 layers): GPT-2, ModernBERT), "normal" (BERT), or
      "switch" (truncated normal of variance 0.1 / fan-in, arXiv 2101.03961 section 2.4).
    - `router`: {"name": ..., that router's own parameters}; see `router.py`.
    """

    model_type = "moescope"
    keys_to_ignore_at_inference: ClassVar[list[str]] = [
        "routing",
        "past_key_values",
        "hidden_states",
        "attentions",
    ]
    attribute_map: ClassVar[dict[str, str]] = {"num_local_experts": "num_experts"}
    base_model_tp_plan: ClassVar[dict[str, str]] = {
        "layers.*.self_attn.q_proj": "colwise",
        "layers.*.self_attn.k_proj": "colwise",
        "layers.*.self_attn.v_proj": "colwise",
        "layers.*.self_attn.o_proj": "rowwise",
    }
    # the rest is the root's group: embeddings and the head, which may be one tensor, and are used
    # together with the final norm
    base_model_fsdp_plan: ClassVar[Any] = {"layers.*": "free_full_weight"}

    vocab_size: int = 8192
    hidden_size: int = 256
    num_hidden_layers: int = 4
    num_attention_heads: int = 8
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    intermediate_size: int = 1024
    moe_intermediate_size: int = 512
    num_experts: int = 8
    num_experts_per_tok: int = 2
    num_shared_experts: int = 0
    first_k_dense: int = 0
    moe_every: int = 1
    norm_position: Literal["pre", "post"] = "pre"
    norm_type: Literal["layer", "rms"] = "layer"
    norm_eps: float = 1e-5
    embedding_norm: bool = False
    position_type: Literal["rope", "learned", "sinusoidal"] = "rope"
    rope_theta: float = 10000.0
    hidden_act: Literal["silu", "gelu", "gelu_pytorch_tanh", "relu"] = "silu"
    gated: bool = True
    qk_norm: bool = False
    qk_norm_per_head: bool = True
    attention_bias: bool = False
    mlp_bias: bool = False
    head_transform: bool = False
    head_bias: bool = False
    dropout: float = 0.0
    max_position_embeddings: int = 512
    tie_word_embeddings: bool = True
    initializer_range: float = 0.02
    init_scheme: Literal["truncated_normal", "normal", "switch"] = "truncated_normal"
    is_causal: bool = False
    use_cache: bool = True
    router: dict[str, Any] = field(default_factory=lambda: {"name": "topk"})
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        if self.num_key_value_heads is None:
            self.num_key_value_heads = self.num_attention_heads
        super().__post_init__(**kwargs)

    @property
    def base_model_ep_plan(self) -> dict[str, str]:  # type: ignore[override]
        """Whole experts on different devices, with all the tensors that these experts have."""
        up = "gate_up_proj" if self.gated else "up_proj"
        tensors = [up, "down_proj"]
        if self.mlp_bias:
            tensors += [f"{name}_bias" for name in tensors]
        shards = {f"layers.*.mlp.experts.{name}": "grouped_gemm" for name in tensors}
        return shards | {"layers.*.mlp.experts": "ep_dispatch_experts"} if self.num_experts else {}

    @property
    def attention_head_dim(self) -> int:
        return self.head_dim or self.hidden_size // self.num_attention_heads

    def is_moe_layer(self, layer_idx: int) -> bool:
        """Whether block `layer_idx` (from 0) has experts."""
        if self.num_experts == 0 or layer_idx < self.first_k_dense:
            return False
        return (layer_idx - self.first_k_dense) % self.moe_every == self.moe_every - 1

    def validate_architecture(self) -> None:
        """Cross-checks between fields; called by `@strict` on every construction."""
        self._check_ranges()
        self._check_attention()
        if self.num_experts:
            self._check_experts()

    def _check_ranges(self) -> None:
        at_least_one = (
            "vocab_size hidden_size num_hidden_layers num_attention_heads num_key_value_heads "
            "intermediate_size moe_intermediate_size num_experts_per_tok moe_every "
            "max_position_embeddings"
        )
        for name in at_least_one.split():
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        for name in ("num_experts", "num_shared_experts", "first_k_dense"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 0")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout} must be in [0, 1)")

    def _check_attention(self) -> None:
        if self.head_dim is None and self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size={self.hidden_size} is not a multiple of num_attention_heads="
                f"{self.num_attention_heads}; change one, or set head_dim"
            )
        if self.num_attention_heads % (self.num_key_value_heads or 1):
            raise ValueError(
                f"num_attention_heads={self.num_attention_heads} is not a multiple of "
                f"num_key_value_heads={self.num_key_value_heads}"
            )
        if self.position_type == "rope" and self.attention_head_dim % 2:
            raise ValueError(
                f"rotary positions need an even head width; head_dim is {self.attention_head_dim}"
            )

    def _check_experts(self) -> None:
        if self.num_experts_per_tok > self.num_experts:
            raise ValueError(
                f"num_experts_per_tok={self.num_experts_per_tok} is above num_experts="
                f"{self.num_experts}; choose at most {self.num_experts}"
            )
        if not any(self.is_moe_layer(i) for i in range(self.num_hidden_layers)):
            raise ValueError(
                f"first_k_dense={self.first_k_dense} and moe_every={self.moe_every} leave no MoE "
                f"layer among {self.num_hidden_layers}; lower them, or set num_experts=0"
            )
        check_router(self)
