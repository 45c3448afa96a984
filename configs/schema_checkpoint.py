"""Config of `moescope import` and `moescope export`."""

from typing import Literal

from pydantic import Field

from .section import Section


class Checkpoint(Section):
    """What `import` reads; with experts to make of a dense model's feed-forwards (upcycling)."""

    source: str | None = Field(
        description="checkpoint to import: a folder or a hub name (BERT, GPT-2, Llama, OLMoE, "
        "Mixtral, Qwen3-MoE; safetensors)"
    )
    num_experts: int = Field(
        ge=0,
        le=65_536,
        description="copies of each dense feed-forward as experts; 0 = import it as it is",
    )
    moe_every: int = Field(ge=1, le=1000, description="upcycle every n-th block")
    first_k_dense: int = Field(ge=0, le=1000, description="leave the first k blocks dense")
    noise: float = Field(
        ge=0,
        le=1000,
        description="noise on the experts' weights, as a share of their std; 0 = exact copies",
    )
    reinitialise: float = Field(
        ge=0, le=1, description="share of each expert's inner units drawn anew (Drop-Upcycling)"
    )


class Export(Section):
    """What `export` writes."""

    model: str | None = Field(description="checkpoint to export; null = the run's own")
    family: Literal["llama", "mixtral", "olmoe", "qwen3_moe"] | None = Field(
        description="family of transformers to write; null = the one whose blocks are the model's"
    )
