"""Config of the train stage and of experiment tracking."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from .section import Section

WATCHING = ("num_workers", "log_every", "eval_every", "eval_examples")  # no weight depends on them
MACHINE = ("gradient_checkpointing", "attention", "device")  # the same sums, in another order


class Train(Section):
    """Optimisation, evaluation, checkpoints."""

    start_from: Path | None = Field(
        description="folder that import or train wrote: start from its weights; null = fresh ones"
    )
    batch_size: int = Field(ge=1, le=1_000_000, description="examples per device and forward pass")
    gradient_accumulation: int = Field(
        ge=1, le=1_000_000, description="forward passes per optimizer step"
    )
    epochs: float = Field(
        gt=0, le=1_000_000, description="passes over the training split (if max_steps is null)"
    )
    max_steps: int | None = Field(
        ge=1, le=1_000_000_000, description="stop after so many steps; null = by epochs"
    )
    learning_rate: float = Field(gt=0, le=1000, description="peak learning rate (AdamW)")
    schedule: Literal["cosine", "linear", "constant"] = Field(description="decay after the warm-up")
    floor: float = Field(ge=0, le=1, description="final learning rate as a share of the peak")
    warmup: float = Field(ge=0, lt=1, description="share of all steps spent warming up")
    weight_decay: float = Field(
        ge=0, le=1000, description="AdamW weight decay (not on norms and biases)"
    )
    adam_beta2: float = Field(gt=0, lt=1, description="AdamW's second-moment decay")
    max_grad_norm: float = Field(
        gt=0, le=1000000000.0, description="gradient clipping by global norm"
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        description="auto = bf16 autocast where the GPU has it, else fp32"
    )
    tf32: bool = Field(
        description="float32 products on a GPU in TF32: several times as fast, 10 bits of mantissa"
    )
    compile: bool = Field(description="torch.compile the model")
    gradient_checkpointing: bool = Field(
        description="compute each block again in the backward pass: less memory, a third more work"
    )
    attention: Literal["auto", "eager", "sdpa", "flex_attention", "flash_attention_2"] = Field(
        description="auto = sdpa; the last two serve packed documents without a mask, on CUDA only"
    )
    device: Literal["auto", "cuda", "mps", "cpu"] = Field(
        description="where to train; auto = cuda, else mps, else cpu"
    )
    processes: int = Field(
        ge=1,
        le=100_000,
        description="processes that train together, each with batch_size examples: one per GPU; "
        "they are started on this machine, unless torchrun did it",
    )
    parallel: Literal["ddp", "fsdp", "experts", "experts_fsdp"] = Field(
        description="several processes divide: ddp = examples; fsdp = weights and optimizer, too; "
        "experts = whole experts alone (all see the same examples); experts_fsdp = all of it"
    )
    group_by_length: bool = Field(description="batch examples of similar length together")
    num_workers: int = Field(ge=0, le=1024, description="data-loading processes")
    log_every: int = Field(ge=1, le=1_000_000_000, description="steps between training log lines")
    eval_every: int = Field(
        ge=1, le=1_000_000_000, description="steps between evaluations and checkpoints"
    )
    snapshots: int = Field(
        ge=0, le=10_000, description="weights kept on the way, evenly spaced, for route.snapshots"
    )
    eval_examples: int | None = Field(
        ge=1, le=1_000_000_000, description="examples per evaluation during training; null = all"
    )
    early_stopping: int | None = Field(
        ge=1,
        le=1_000_000_000,
        description="stop after so many evaluations without improvement; null = never",
    )


class Tracking(Section):
    """Where metrics go besides metrics.jsonl."""

    name: Literal["aim", "none"]
    experiment: str = Field(description="Aim experiment name")
    tags: list[str] = Field(description="tags on the Aim run")
