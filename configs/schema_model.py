"""Config of the model: architecture, router, balance losses (see model/configuration_*.py)."""

from typing import Annotated, Literal

from pydantic import Field

from .section import Section


class ModelSection(Section):
    """The architecture; names are those of transformers' configurations."""

    is_causal: bool = Field(
        description="true: decoder, each token predicted from those before it; "
        "false: encoder, masked tokens predicted from both sides"
    )
    hidden_size: int = Field(ge=1, le=65_536, description="width of the residual stream")
    num_hidden_layers: int = Field(ge=1, le=1000, description="number of blocks")
    num_attention_heads: int = Field(ge=1, le=4096, description="attention heads")
    num_key_value_heads: int | None = Field(
        ge=1, le=4096, description="key/value heads (GQA); null = as many as heads"
    )
    head_dim: int | None = Field(
        ge=1, le=8192, description="width of a head; null = hidden_size / heads"
    )
    intermediate_size: int = Field(
        ge=1, le=1_048_576, description="width of the dense feed-forward"
    )
    moe_intermediate_size: int = Field(ge=1, le=1_048_576, description="width of one expert")
    num_experts: int = Field(ge=0, le=65_536, description="experts per MoE layer; 0 = dense model")
    num_shared_experts: int = Field(
        ge=0, le=1024, description="experts that every token passes through"
    )
    first_k_dense: int = Field(ge=0, le=1000, description="the first k blocks are dense")
    moe_every: int = Field(ge=1, le=1000, description="every n-th block after those is MoE")
    norm_position: Literal["pre", "post"] = Field(description="norm before or after each sublayer")
    norm_type: Literal["layer", "rms"] = Field(description="LayerNorm or RMSNorm")
    norm_eps: float = Field(gt=0, le=1, description="added to the variance inside a norm's root")
    embedding_norm: bool = Field(description="a norm right after the embeddings (BERT)")
    position_type: Literal["rope", "learned", "sinusoidal"] = Field(
        description="how positions are encoded"
    )
    rope_theta: float = Field(gt=0, le=1000000000000.0, description="RoPE base")
    hidden_act: Literal["silu", "gelu", "gelu_pytorch_tanh", "relu"] = Field(
        description="feed-forward activation"
    )
    gated: bool = Field(description="gated feed-forward (SwiGLU, GEGLU)")
    qk_norm: bool = Field(description="RMSNorm on queries and keys")
    qk_norm_per_head: bool = Field(description="that norm per head (Qwen3), or over all (OLMoE)")
    attention_bias: bool = Field(description="biases in the attention projections")
    mlp_bias: bool = Field(description="biases in the feed-forward and the experts")
    head_bias: bool = Field(description="biases of the output over the vocabulary")
    dropout: float = Field(ge=0, lt=1, description="dropout on embeddings and sublayer outputs")
    max_position_embeddings: int = Field(ge=8, le=10_000_000, description="longest sequence")
    tie_word_embeddings: bool = Field(description="share input and output embeddings")
    initializer_range: float = Field(gt=0, le=10, description="std of the initial weights")
    init_scheme: Literal["truncated_normal", "normal", "switch"] = Field(
        description="cut at 3 std and scaled by depth, plain normal, or Switch's smaller std"
    )


class TopkRouter(Section):
    """Softmax top-k (Mixtral, OLMoE)."""

    name: Literal["topk"]
    top_k: int = Field(ge=1, le=65_536, description="experts per token")
    softmax: Literal["before", "after"] = Field(
        description="softmax over all experts before choosing, or over the chosen after"
    )
    renormalise: bool = Field(description="make the chosen weights sum to 1")


class SwitchRouter(Section):
    """Switch: top-1, input jitter, capacity (arXiv 2101.03961)."""

    name: Literal["switch"]
    top_k: Literal[1] = Field(description="experts per token (always 1)")
    jitter: float = Field(ge=0, lt=1, description="router input times U(1-j, 1+j) in training")
    capacity_factor: float | None = Field(
        gt=0,
        le=10_000,
        description="in training, tokens per expert over the balanced share; null = no limit",
    )
    eval_capacity_factor: float | None = Field(
        gt=0, le=10_000, description="the same outside of training, also while routing is recorded"
    )
    capacity_per: Literal["batch", "sequence"] = Field(description="whose tokens share a capacity")


class GshardRouter(Section):
    """GShard: top-2, the second expert by chance (arXiv 2006.16668)."""

    name: Literal["gshard"]
    top_k: Literal[2] = Field(description="experts per token (always 2)")
    random_second: bool = Field(
        description="in training, use the second expert with probability 2 x its weight"
    )
    capacity_factor: float | None = Field(
        gt=0,
        le=10_000,
        description="in training, tokens per expert over the balanced share; null = no limit",
    )
    eval_capacity_factor: float | None = Field(
        gt=0, le=10_000, description="the same outside of training, also while routing is recorded"
    )
    capacity_per: Literal["batch", "sequence"] = Field(description="whose tokens share a capacity")


class NoisyTopkRouter(Section):
    """Noisy top-k: Gaussian noise of a learned size in training (Shazeer, arXiv 1701.06538)."""

    name: Literal["noisy_topk"]
    top_k: int = Field(ge=2, le=65_536, description="experts per token")


class SigmoidRouter(Section):
    """Sigmoid scores with loss-free balancing (DeepSeek-V3)."""

    name: Literal["sigmoid"]
    top_k: int = Field(ge=1, le=65_536, description="experts per token")
    renormalise: bool = Field(description="make the chosen weights sum to 1")
    scaling: float = Field(gt=0, le=1000000.0, description="factor of the weights")
    bias_update_rate: float = Field(
        ge=0, le=1, description="how far each expert's bias moves per step; 0 = no balancing"
    )


class ExpertChoiceRouter(Section):
    """Experts choose tokens: perfect balance, encoders only (arXiv 2202.09368)."""

    name: Literal["expert_choice"]
    top_k: int = Field(ge=1, le=65_536, description="experts per token, on average")
    choose_per: Literal["sequence", "batch"] = Field(description="among whose tokens they choose")


class HashRouter(Section):
    """No learning: experts by hash, the null of a specialisation study (arXiv 2106.04426)."""

    name: Literal["hash"]
    top_k: int = Field(ge=1, le=65_536, description="experts per token")
    key: Literal["token", "random"] = Field(
        description="hash of the token id, or of token id and position"
    )
    seed: int = Field(ge=0, le=2_147_483_647, description="another seed, another assignment")


class MaskedRouter(Section):
    """Softmax top-k over the experts that a document's metadata permits: its year, any column."""

    name: Literal["masked"]
    top_k: int = Field(ge=1, le=65_536, description="experts per token, at most")
    column: str = Field(
        description="year (of the date), topic, source, group, or one of source.metadata_columns"
    )
    policy: Literal["exact", "causal", "explicit"] = Field(
        description="exact: the value's own experts; causal: those of all values up to it, so that "
        "nothing learnt later reaches it; explicit: router.permitted"
    )
    values: list[int | str] = Field(
        description="the column's values in order; for years the first year of each period; "
        "[] = found in the documents"
    )
    permitted: list[list[int]] = Field(
        description="policy=explicit: the experts of each value, in the order of router.values"
    )
    shared: int = Field(
        ge=0, le=65_536, description="the first so many experts are permitted to all"
    )
    renormalise: bool = Field(description="make the chosen weights sum to 1")


Router = Annotated[
    TopkRouter
    | MaskedRouter
    | SwitchRouter
    | GshardRouter
    | NoisyTopkRouter
    | SigmoidRouter
    | ExpertChoiceRouter
    | HashRouter,
    Field(discriminator="name"),
]


class Balance(Section):
    """Coefficients of the balance losses added to the language-model loss; 0 = off."""

    switch: float = Field(ge=0, le=1000000.0, description="Switch loss (1 at perfect balance)")
    gshard: float = Field(ge=0, le=1000000.0, description="GShard loss (1 at perfect balance)")
    z: float = Field(ge=0, le=1000000.0, description="router z-loss (ST-MoE)")
    importance: float = Field(
        ge=0, le=1000000.0, description="CV² of the summed weights (0 at balance)"
    )
    load: float = Field(
        ge=0, le=1000000.0, description="CV² of the smooth load; noisy_topk only (0 at balance)"
    )
    entropy: float = Field(
        ge=0, le=1000000.0, description="log E − entropy of the mean choice (0 at balance)"
    )
    orthogonality: float = Field(
        ge=0,
        le=1000000.0,
        description="mean squared cosine between experts' weights (0 when orthogonal)",
    )
    scope: Literal["local", "global"] = Field(
        description="balance each process's tokens by themselves, or all processes' together"
    )

    def coefficients(self) -> dict[str, float]:
        """The losses that are on, by name."""
        return {k: v for k, v in self.model_dump(exclude={"scope"}).items() if v > 0}
