"""Works out, before a recording starts, what it will read and hold, and how long it will take."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel

from ..checkpoints.free_memory import GB
from ..checkpoints.layer_sizes import LayerSizes
from .capture import find_experts
from .machine_rates import disk_rate, matmul_rate

TOP_K_NAMES = ("num_experts_per_tok", "num_experts_per_token", "moe_top_k", "moe_topk", "top_k")


@dataclass(frozen=True)
class Work:
    """A pass: its model, and the text that it runs over.

    Attributes:
        network: on the meta device or not; its weights are not looked at.
        sizes: of its layers.
        files: its weights on disk; [] where only its config is known.
        tokens: to run.
        window: longest window, in tokens.
        batch_size: windows per forward pass.
        by_layer: whether one layer is in memory at a time.
    """

    network: PreTrainedModel
    sizes: LayerSizes
    files: Sequence[Path]
    tokens: int
    window: int
    batch_size: int
    by_layer: bool


@dataclass(frozen=True)
class Forecast:
    """What a pass will take on this machine; all from sizes and two measured rates.

    Attributes:
        read: bytes of weights, each read once.
        memory: bytes of the process' largest moment.
        beside: bytes on disk beside the store, while it runs.
        operations: floating-point operations.
        read_s: time to read.
        compute_s: time to compute.
    """

    read: int
    memory: int
    beside: int
    operations: float
    read_s: float
    compute_s: float

    @property
    def elapsed_s(self) -> float:
        """Reading and computing, one after the other."""
        return self.read_s + self.compute_s


def top_k_of(network: PreTrainedModel) -> int:
    """Returns the experts per token that a config names; families name them in many ways."""
    config = network.config.get_text_config()
    named = [getattr(config, name, None) for name in TOP_K_NAMES]
    found = [k for k in named if isinstance(k, int) and k > 0]
    if not found:
        modules = (getattr(module, "top_k", None) for module in network.modules())
        found = [k for k in modules if isinstance(k, int) and not isinstance(k, bool) and k > 0]
    return found[0] if found else 1


def operations_per_token(network: PreTrainedModel, window: int) -> tuple[float, float]:
    """Returns the floating-point operations of a token in experts, and in everything else.

    A weight takes two; of the experts' weights a token meets k of E. Attention adds two products of
    its width with half a window.
    """
    config, experts = network.config.get_text_config(), find_experts(network)
    inside = {id(p) for module in experts.values() for p in module.parameters()}
    k = top_k_of(network)
    met: float = sum(
        p.numel() * min(k / int(module.num_experts), 1.0)  # type: ignore[arg-type, misc]
        for module in experts.values()
        for p in module.parameters()
    )
    embeddings = {id(m.weight) for m in network.modules() if isinstance(m, nn.Embedding)}
    rest = sum(
        p.numel() for p in network.parameters() if id(p) not in inside and id(p) not in embeddings
    )
    head = network.get_output_embeddings()
    if head is not None and id(head.weight) in embeddings:  # tied: a table to look up, and a head
        rest += head.weight.numel()
    attention = config.num_hidden_layers * config.hidden_size * window
    return 2.0 * met, 2.0 * (rest + attention)


def forecast(work: Work, folder: Path, device: torch.device) -> Forecast:
    """Measures the two rates, for the shapes of the model, and works the rest out.

    Args:
        work: what is to be run.
        folder: where a small file can be written when there are no weights to read.
        device: that computes.
    """
    sizes, network = work.sizes, work.network
    positions = work.batch_size * work.window
    config = network.config.get_text_config()
    in_experts, outside = operations_per_token(network, work.window)
    expert = next(p for m in find_experts(network).values() for p in m.parameters() if p.dim() == 3)
    rows = max(1, positions * top_k_of(network) // expert.shape[0])
    dtype, kind = network.dtype, device.type
    expert_rate = matmul_rate(rows, expert.shape[2], expert.shape[1], dtype, kind)
    rate = matmul_rate(min(positions, 4096), config.hidden_size, config.hidden_size, dtype, kind)
    read = sum(file.stat().st_size for file in work.files) or sizes.total
    return Forecast(
        read=read,
        memory=sizes.by_layer(positions) if work.by_layer else sizes.whole(positions),
        beside=2 * work.tokens * config.hidden_size * dtype.itemsize if work.by_layer else 0,
        operations=work.tokens * (in_experts + outside),
        read_s=read / disk_rate(work.files, folder),
        compute_s=work.tokens * (in_experts / expert_rate + outside / rate),
    )


def in_words(seconds: float) -> str:
    """Writes a time as a person would: "40 s", "12 min", "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def summary(found: Forecast) -> str:
    """Says in half a line what a pass will take."""
    return (
        f"{found.read / GB:.3g} GB to read, {found.memory / GB:.3g} GB of memory, about "
        f"{in_words(found.elapsed_s)} (forecast)"
    )
