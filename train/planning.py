"""What a training takes, worked out from its config: nothing is trained, every time is a forecast.

T = tokens of one process and forward pass, h = width, f = width of an expert, k = experts per
token, n = processes.
"""

import os
import time
from dataclasses import dataclass, replace
from typing import Any

import torch

from ..configs.schema import Config
from ..model import MoescopeConfig, MoescopeExperts, MoescopeForCausalLM, MoescopeForMaskedLM
from .build import LanguageModel, parameter_counts

FP32, BF16, ADAM = 4, 2, 8  # bytes per number; AdamW keeps two float32 per parameter
SHARE_OF_MEMORY = 0.9  # what allocator and libraries leave
GIB = 2**30


@dataclass(frozen=True)
class Device:
    """What a data sheet says.

    Attributes:
        name: as people say it.
        flops: peak products per second, dense, in bf16 (float32 on a CPU).
        memory: bytes.
        link: bytes per second to the other devices of its machine, one direction.
        half: whether it trains in bf16.
    """

    name: str
    flops: float
    memory: float
    link: float
    half: bool = True


DEVICES = {
    "h100": Device("NVIDIA H100 SXM 80 GB", 989e12, 80e9, 450e9),
    "h200": Device("NVIDIA H200 SXM 141 GB", 989e12, 141e9, 450e9),
    "a100": Device("NVIDIA A100 SXM 80 GB", 312e12, 80e9, 300e9),
    "a100_40gb": Device("NVIDIA A100 SXM 40 GB", 312e12, 40e9, 300e9),
    "l40s": Device("NVIDIA L40S 48 GB", 362e12, 48e9, 32e9),
    "l4": Device("NVIDIA L4 24 GB", 121e12, 24e9, 32e9),
    "rtx4090": Device("NVIDIA RTX 4090 24 GB", 165e12, 24e9, 32e9),
}


@dataclass(frozen=True)
class Sizes:
    """What a config's model and batch are made of.

    Attributes:
        parameters, active: of the model, and of those that one token meets.
        expert_parameters: of all routed experts.
        largest_block: parameters of the largest block, which FSDP gathers whole.
        tokens: of one process and forward pass.
        activations: bytes that one process keeps for the backward pass.
        moe_layers, width, top_k, bytes_per_number: of what is sent to experts elsewhere.
        passes: forward passes of one process per optimizer step.
        flops: of one process and optimizer step.
        expert_flops: those of them in routed experts.
    """

    parameters: int
    active: int
    expert_parameters: int
    largest_block: int
    tokens: int
    activations: int
    moe_layers: int
    width: int
    top_k: int
    bytes_per_number: int
    passes: int
    flops: float
    expert_flops: float


@dataclass(frozen=True)
class Way:
    """One way of dividing a training over n processes.

    Attributes:
        name: as `train.parallel` takes it.
        weights, gradients, optimizer, activations: bytes on one device.
        tokens: of all processes and one optimizer step.
        sent: bytes that a device sends per optimizer step.
        compute_s, sending_s: seconds per optimizer step, not overlapped.
        fits: whether the bytes fit the device.
    """

    name: str
    weights: float
    gradients: float
    optimizer: float
    activations: float
    tokens: int
    sent: float
    compute_s: float
    sending_s: float
    fits: bool

    @property
    def memory(self) -> float:
        """Bytes on one device."""
        return self.weights + self.gradients + self.optimizer + self.activations

    @property
    def tokens_per_s(self) -> float:
        """Forecast for all processes together."""
        return self.tokens / (self.compute_s + self.sending_s)


def this_machine() -> Device:
    """Measures float32 products for about a second; its memory is what is installed."""
    side = 1024
    a, b = torch.randn(side, side), torch.randn(side, side)
    rounds, started = 0, time.monotonic()
    while rounds < 2 or time.monotonic() - started < 1:
        if rounds == 1:
            started = time.monotonic()  # the first one warms up
        torch.mm(a, b)
        rounds += 1
    flops = 2 * side**3 * (rounds - 1) / (time.monotonic() - started)
    return Device("this machine's CPU", flops, _installed_memory(), 5e9, half=False)


def _installed_memory() -> float:
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def sizes_of(config: Config, architecture: MoescopeConfig, *, half: bool) -> Sizes:
    """Works out parameters, activations and operations of a config.

    Args:
        config: of the run.
        architecture: its model, with the vocabulary that the dataset has or will have.
        half: whether products and activations are in bf16.
    """
    model = _empty(architecture)
    parameters, active = parameter_counts(model)
    experts = [m for m in model.modules() if isinstance(m, MoescopeExperts)]
    blocks: Any = model.base_model.layers
    layers = [sum(p.numel() for p in block.parameters()) for block in blocks]
    train, length = config.train, config.dataset.sequence_length
    tokens = train.batch_size * length
    size = BF16 if half and train.precision != "fp32" else FP32
    again = 4 / 3 if train.gradient_checkpointing else 1.0
    expert_parameters = sum(p.numel() for m in experts for p in m.parameters())
    met = expert_parameters * architecture.num_experts_per_tok // max(architecture.num_experts, 1)
    return Sizes(
        parameters=parameters,
        active=active,
        expert_parameters=expert_parameters,
        largest_block=max(layers),
        tokens=tokens,
        activations=activation_bytes(
            architecture, tokens, size, checkpointing=train.gradient_checkpointing
        ),
        moe_layers=len(experts),
        width=architecture.hidden_size,
        top_k=architecture.num_experts_per_tok if experts else 0,
        bytes_per_number=size,
        passes=train.gradient_accumulation,
        flops=train.gradient_accumulation
        * step_flops(architecture, active, tokens, length, again=again),
        expert_flops=train.gradient_accumulation * 6.0 * met * tokens * again,
    )


def _empty(architecture: MoescopeConfig) -> LanguageModel:
    with torch.device("meta"):
        kind = MoescopeForCausalLM if architecture.is_causal else MoescopeForMaskedLM
        return kind(architecture)


def step_flops(
    architecture: MoescopeConfig, active: int, tokens: int, length: int, *, again: float = 1.0
) -> float:
    """Operations of one forward and backward pass.

    6 per active parameter and token, and 12 · layers · length · width of the heads per token for
    attention (PaLM, arXiv 2204.02311, appendix B). An output layer over the vocabulary counts for
    every token, although an encoder's sees masked ones alone.

    Args:
        architecture: of the model.
        active: parameters that one token meets.
        tokens: of the pass.
        length: of a sequence.
        again: 4/3 where gradient checkpointing computes every block once more.
    """
    looked_up = 0 if architecture.tie_word_embeddings else architecture.vocab_size
    multiplied = active - looked_up * architecture.hidden_size
    width = architecture.num_attention_heads * architecture.attention_head_dim
    attention = 12 * architecture.num_hidden_layers * length * width
    return float(tokens * (6 * multiplied + attention)) * again


def activation_bytes(
    architecture: MoescopeConfig, tokens: int, size: int, *, checkpointing: bool
) -> int:
    """Bytes that the backward pass needs, attention without a matrix of scores (flash or SDPA).

    With gradient checkpointing: every block's input, and the inside of one block.
    """
    blocks = [
        _block_numbers(architecture, is_moe=architecture.is_moe_layer(i))
        for i in range(architecture.num_hidden_layers)
    ]
    inside = [tokens * (FP32 * whole + size * half) for whole, half in blocks]
    if checkpointing:
        return int(len(blocks) * tokens * FP32 * architecture.hidden_size + max(inside))
    return int(sum(inside))


def _block_numbers(architecture: MoescopeConfig, *, is_moe: bool) -> tuple[int, int]:
    """Numbers per token that a block keeps: in float32 (residual stream, router), and in `size`."""
    h = architecture.hidden_size
    heads = architecture.num_attention_heads * architecture.attention_head_dim
    groups = architecture.num_key_value_heads or architecture.num_attention_heads
    kept_values = groups * architecture.attention_head_dim
    residual = 2 * h  # what the two norms read
    # q, k, v; q and k normed and turned by RoPE; what attention gives; what the norms give
    turned = (1 + architecture.qk_norm) * (heads + kept_values)
    attention = turned + (heads + kept_values) + kept_values + heads + 2 * h
    inner = 4 if architecture.gated else 2  # gate, up, activation, product; or up, activation
    if not is_moe:
        return residual, attention + inner * architecture.intermediate_size
    k, f = architecture.num_experts_per_tok, architecture.moe_intermediate_size
    shared = architecture.num_shared_experts * inner * f
    router = 2 * architecture.num_experts
    return residual + router, attention + k * (2 * h + inner * f) + shared


def ways_to_train(sizes: Sizes, device: Device, count: int, utilisation: float) -> list[Way]:
    """What each way of dividing a training takes, per device, with n processes.

    Bytes sent per step:

    - ddp: the float32 gradients, summed in a ring, 2 (n − 1)/n of them;
    - fsdp: the weights gathered for the forward and the backward pass and the gradients
      scattered, 3 (n − 1)/n, in every pass;
    - experts (all processes see the same tokens): the experts' outputs and the gradients of
      their inputs, summed, each 2 (n − 1)/n of T · h per MoE layer;
    - experts_fsdp: fsdp for what is no expert; each token's k copies go to the experts and come
      back, forward and backward (all-to-all), 4 (n − 1)/n of T · k · h per MoE layer.

    Args:
        sizes: of the training.
        device: each process has one.
        count: n.
        utilisation: share of the device's rate that is reached.
    """
    p, e = sizes.parameters, sizes.expert_parameters
    rest, away = p - e, (count - 1) / count
    gathered = sizes.largest_block * sizes.bytes_per_number
    hidden = sizes.passes * sizes.tokens * sizes.width * sizes.bytes_per_number * sizes.moe_layers
    fsdp = 3 * away * FP32 * sizes.passes
    shared_out = sizes.flops - sizes.expert_flops * away
    # parameters kept, bytes gathered on top, bytes sent, operations, parts of the batch
    divisions = {
        "ddp": (p, 0, 2 * away * FP32 * p, sizes.flops, count),
        "fsdp": (p / count, gathered, fsdp * p, sizes.flops, count),
        "experts": (rest + e / count, 0, 4 * away * hidden, shared_out, 1),
        "experts_fsdp": (
            p / count,
            gathered * rest / p,
            fsdp * rest + 4 * away * hidden * sizes.top_k,
            sizes.flops,
            count,
        ),
    }
    if count == 1:
        divisions = {"one process": divisions["ddp"]}
    ways = []
    for name, (kept, on_top, sent, flops, parts) in divisions.items():
        if name.startswith("experts") and not e:
            continue
        way = Way(
            name=name,
            weights=FP32 * kept + on_top,
            gradients=FP32 * kept,
            optimizer=ADAM * kept,
            activations=sizes.activations,
            tokens=sizes.tokens * sizes.passes * parts,
            sent=sent,
            compute_s=flops / (device.flops * utilisation),
            sending_s=sent / device.link,
            fits=False,
        )
        ways.append(replace(way, fits=way.memory <= SHARE_OF_MEMORY * device.memory))
    return ways


def advice(ways: list[Way], device: Device) -> str:
    """One sentence: the simplest way that fits, or what would help."""
    fitting = [way for way in ways if way.fits]
    if fitting:
        quickest = max(fitting, key=lambda way: way.tokens_per_s)
        if quickest.name == "one process":
            return "it fits one device"
        return f"train.parallel={quickest.name} fits, and is the quickest of those that do"
    least = min(ways, key=lambda way: way.memory)
    return (
        f"nothing fits: {least.name} takes {least.memory / GIB:,.1f} GiB of the "
        f"{SHARE_OF_MEMORY * device.memory / GIB:,.1f} that can be used; take more devices, "
        "train.gradient_checkpointing=true, or a smaller train.batch_size with more "
        "train.gradient_accumulation"
    )
