"""Config of the route and report stages."""

from pathlib import Path
from typing import Any, Literal

from pydantic import ByteSize, Field

from .section import Section


class Route(Section):
    """What the routing store records."""

    split: Literal["train", "validation", "test", "probe"] = Field(description="split to run")
    model: str | None = Field(
        description="checkpoint to record; null = the run's own (any transformers MoE works)"
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] | None = Field(
        description="precision of the weights; null or auto = the checkpoint's own"
    )
    device_map: str | dict[str, str | int] | None = Field(
        description="spreads the model as accelerate does: auto, balanced, sequential, cpu, "
        "cuda:0, or module → device (disk = read at every pass); null = one device"
    )
    quantization: str | dict[str, Any] | None = Field(
        description="quantises the weights when they are loaded, as transformers does: a method "
        "(bitsandbytes_4bit, torchao, hqq, …) or its settings with quant_method; null = as they are"
    )
    memory: ByteSize | None = Field(
        ge=1_000_000,
        description="for models larger than memory: where the weights take more (8GB, 24GiB), one "
        "layer is in memory at a time; null = where they do not fit into what is free",
    )
    adapter: Path | None = Field(
        description="folder of a PEFT adapter to merge into the weights of route.model; null = "
        "none, also where one lies beside them"
    )
    batch_size: int = Field(ge=1, le=1_000_000, description="examples per forward pass")
    max_types: int = Field(
        ge=1, le=10_000_000, description="token types with a row of their own; the rest share one"
    )
    sample_documents: int = Field(
        ge=0, le=1_000_000_000, description="documents per topic kept token by token"
    )
    sample_tokens: int = Field(
        ge=0, le=10_000_000_000, description="content tokens of those documents, at most"
    )
    max_memory: int = Field(
        ge=1, le=1_000_000_000, description="MiB that the tables and the sample may take"
    )
    knockout: Literal["none", "top", "all"] = Field(
        description="experts to take away one by one: none, the strongest per topic with "
        "load-matched controls, or all (own models only)"
    )
    knockout_experts: int = Field(
        ge=1, le=65_536, description="strongest experts per topic to take away"
    )
    knockout_documents: int = Field(
        ge=1,
        le=10_000_000,
        description="documents per topic whose loss is measured, at most half of them",
    )
    snapshots: bool = Field(
        description="compare the choices of the run's snapshots (train.snapshots) with the final"
    )
    snapshot_documents: int = Field(
        ge=1, le=10_000_000, description="documents per topic to compare them on"
    )
    metadata_values: Literal["own", "all"] = Field(
        description="masked router: own = each document under its own value (its year, its "
        "topic); all = its loss under every other value, too"
    )
    senses: Path | None = Field(
        description="texts labelled by the sense of one token, run beside the split (JSON Lines, "
        "CSV or Parquet with the columns text, token, sense); null = none"
    )
    position_bins: int = Field(ge=1, le=100_000, description="bins of the position table")


class Report(Section):
    """Statistics and the page."""

    permutations: int = Field(
        ge=19, le=1_000_000, description="document permutations behind every p-value"
    )
    bootstrap: int = Field(
        ge=0, le=1_000_000, description="document bootstrap draws behind every interval"
    )
    alpha: float = Field(gt=0, lt=0.5, description="family-wise error rate of the marks")
    time_blocks: str = Field(
        min_length=1,
        description="what is one observation of its time: group, or a column of the documents "
        "(source, or one of metadata, such as president of source=sotu)",
    )
    top_tokens: int = Field(ge=1, le=200, description="tokens listed per expert, at most")
    example_documents: int = Field(
        ge=0, le=10_000, description="documents per topic in the page's token viewer, at most"
    )
    formats: list[Literal["html", "png", "csv"]] = Field(
        description="what is written beside summary.json (png: needs kaleido and a Chromium)"
    )
