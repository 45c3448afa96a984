"""What a training step costs on one CUDA card: time, memory, and what recording adds.

    python benchmarks/gpu.py [--steps N] [--compile] [--dry]

On the card, in bf16 autocast with fused AdamW, three pairs of models take the same batches in
turns, and ratios are medians of pairs:
- an MoE encoder and the dense encoder of its active size (the FFN as wide as the experts that a
  token meets), in masked-language training with 15 % of the tokens masked;
- an MoE decoder of ours and transformers' OLMoE with the same weights;
- the encoder's forward pass with and without recording of every routing decision.
Peak memory is that of one step, above the weights and the optimizer's state.

Without a card it says so and ends with `{"skipped": ...}`. `--dry` runs everything on the CPU at
toy size: it proves that the script works, and its figures mean nothing.

The last line is JSON: `moe_over_dense_step`, `moe_over_dense_memory`, `step_over_transformers`,
`memory_over_transformers`, `capture_overhead`, `loss_difference` (of ours and transformers',
relative, at the first step), `tokens_per_s`, `step_memory_mib`, `device`.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from transformers import OlmoeConfig, OlmoeForCausalLM

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.routing import BATCH, LENGTH, VOCABULARY, demo_sizes, make_batch, make_facts
from moescope.inference.recording.capture import RoutingCapture
from moescope.inference.recording.forward import Observer
from moescope.inference.recording.recorder import RoutingRecorder
from moescope.inference.store.writer import StoreWriter
from moescope.model import (
    MoescopeConfig,
    MoescopeForCausalLM,
    MoescopeForMaskedLM,
    balance_losses,
    import_model,
)

EXPECTED = """What to expect on an A100 or H100. These are forecasts, not measurements:
- moe_over_dense_step 1.1 to 1.5: the same products, cut into groups, and rows sorted by expert
- moe_over_dense_memory 1.2 to 2.0: every token's row is kept once for each of its experts
- step_over_transformers well below 1: under autocast its float32 experts run in a loop that waits
  for the host, and its loss keeps all logits in float32
- capture_overhead 0.1 to 0.5 of a forward pass
A figure far outside is worth a look with torch.profiler."""


class Size(NamedTuple):
    """Of the models: width, layers, heads, width of an expert; experts and those of a token."""

    width: int
    layers: int
    heads: int
    inner: int
    experts: int = 8
    top_k: int = 2


CARD, TOY = Size(768, 12, 12, 1536), Size(32, 2, 2, 32)
Batch = dict[str, Tensor]


class Contestant(NamedTuple):
    """A model in training."""

    model: Any
    optimizer: torch.optim.Optimizer
    arguments: dict[str, Any]
    """Of the forward pass, besides the batch."""
    takes: tuple[str, ...]
    """What of the batch the model takes."""


def encoder(size: Size, device: torch.device, *, num_experts: int) -> MoescopeForMaskedLM:
    """An encoder of experts, or a dense one of the active size."""
    torch.manual_seed(0)
    config = MoescopeConfig(
        vocab_size=VOCABULARY,
        hidden_size=size.width,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        intermediate_size=size.top_k * size.inner,
        moe_intermediate_size=size.inner,
        num_experts=num_experts,
        num_experts_per_tok=size.top_k,
    )
    return MoescopeForMaskedLM(config).to(device)


def decoders(size: Size, device: torch.device) -> tuple[MoescopeForCausalLM, OlmoeForCausalLM]:
    """An OLMoE of transformers and the same weights in our decoder."""
    torch.manual_seed(0)
    config = OlmoeConfig(
        vocab_size=VOCABULARY,
        hidden_size=size.width,
        intermediate_size=size.inner,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_experts=size.experts,
        num_experts_per_tok=size.top_k,
        use_cache=False,
        pad_token_id=None,
    )
    theirs = OlmoeForCausalLM(config)
    ours: Any = import_model(theirs)
    ours.config.use_cache = False
    return ours.to(device), theirs.to(device)


def contestant(model: nn.Module, takes: str, **arguments: Any) -> Contestant:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    return Contestant(model.train(), optimizer, arguments, tuple(takes.split()))


def train_step(one: Contestant, batch: Batch) -> Tensor:
    """Forward in bf16, balance loss for models of ours, backward, clipping, AdamW."""
    inputs = {name: batch[name] for name in one.takes}
    with torch.autocast(batch["input_ids"].device.type, torch.bfloat16):
        output = one.model(**inputs, **one.arguments)
    loss = output.loss
    if one.arguments.get("output_routing"):
        loss = loss + 0.01 * balance_losses(output.routing, None, ["switch"])["switch"]
    loss.backward()
    nn.utils.clip_grad_norm_(one.model.parameters(), 1.0)
    one.optimizer.step()
    one.optimizer.zero_grad()
    return output.loss.detach()


def milliseconds(work: Callable[[], object], device: torch.device) -> float:
    """Wall time of one call, until the device has finished it."""
    wait(device)
    start = time.perf_counter()
    work()
    wait(device)
    return 1e3 * (time.perf_counter() - start)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def step_memory(one: Contestant, batch: Batch) -> int:
    """Peak bytes of a step above what lies there between steps; 0 on a CPU."""
    if batch["input_ids"].device.type != "cuda":
        return 0
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    train_step(one, batch)
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def compare(a: Contestant, b: Contestant, batch: Batch, steps: int) -> dict[str, float]:
    """Step time and memory of `a` over those of `b`, and the difference of their first losses."""
    device = batch["input_ids"].device
    first = [float(train_step(one, batch)) for one in (a, b)]
    for one in (a, b):
        train_step(one, batch)
    pairs = [
        [milliseconds(lambda one=one: train_step(one, batch), device) for one in (a, b)]  # type: ignore[misc]
        for _ in range(steps)
    ]
    memory = [step_memory(one, batch) for one in (a, b)]
    return {
        "milliseconds": statistics.median(mine for mine, _ in pairs),
        "step": statistics.median(mine / other for mine, other in pairs),
        "memory": memory[0] / memory[1] if memory[1] else float("nan"),
        "mib": memory[0] / 2**20,
        "loss_difference": abs(first[0] - first[1]) / first[1],
    }


def capture_overhead(model: Any, size: Size, steps: int) -> float:
    """Time that recording adds to a forward pass with loss, as a share of it."""
    device, batch = model.device, make_batch(0, torch.Generator().manual_seed(0))
    names = ("input_ids", "attention_mask", "labels", "label_positions")
    rows = np.arange(BATCH)
    model.eval()

    @torch.inference_mode()
    def plain() -> None:
        model(**{name: batch[name].to(device) for name in names})

    with (
        tempfile.TemporaryDirectory() as folder,
        StoreWriter(
            Path(folder),
            num_layers=size.layers,
            num_experts=size.experts,
            num_slots=size.top_k,
        ) as writer,
    ):
        sizes = demo_sizes(size.layers, size.experts, size.top_k)
        recorder = RoutingRecorder(sizes, make_facts(BATCH, BATCH), device)
        capture = RoutingCapture(model)
        observer = Observer(model, capture, device)

        def narrow() -> torch.autocast:
            return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")

        def recorded() -> None:
            with (
                capture,
                torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"),
            ):
                recorder.begin_chunk(0, BATCH - 1)
                recorder.add(batch, rows, observer(batch))
                writer.append(recorder.end_chunk())

        def bare() -> None:
            with narrow():
                plain()

        bare()
        recorded()
        pairs = [(milliseconds(bare, device), milliseconds(recorded, device)) for _ in range(steps)]
    return statistics.median(with_it / without for without, with_it in pairs) - 1


def measure(size: Size, device: torch.device, steps: int, *, compiled: bool) -> dict[str, Any]:
    batch = make_batch(0, torch.Generator().manual_seed(0))
    batch["segment_starts"] = torch.arange(BATCH + 1) * LENGTH
    batch = {name: tensor.to(device) for name, tensor in batch.items()}
    text = {**batch, "labels": batch["input_ids"]}
    takes = "input_ids attention_mask segment_starts labels"
    mine = {"output_logits": False}

    sparse = encoder(size, device, num_experts=size.experts)
    dense = encoder(size, device, num_experts=0)
    overhead = capture_overhead(sparse, size, steps)
    if compiled:
        sparse.compile()
        dense.compile()
    against_dense = compare(
        contestant(sparse, f"{takes} label_positions", output_routing=True, **mine),
        contestant(dense, f"{takes} label_positions", **mine),
        batch,
        steps,
    )
    del sparse, dense
    ours, theirs = decoders(size, device)
    if compiled:
        ours.compile()
        theirs.compile()
    against_library = compare(
        contestant(ours, takes, **mine), contestant(theirs, "input_ids labels"), text, steps
    )
    return {
        "moe_over_dense_step": against_dense["step"],
        "moe_over_dense_memory": against_dense["memory"],
        "step_memory_mib": against_dense["mib"],
        "tokens_per_s": 1e3 * BATCH * LENGTH / against_dense["milliseconds"],
        "step_over_transformers": against_library["step"],
        "memory_over_transformers": against_library["memory"],
        "loss_difference": against_library["loss_difference"],
        "capture_overhead": overhead,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", maxsplit=1)[0])
    parser.add_argument("--steps", type=int, default=20, help="pairs of steps")
    parser.add_argument("--compile", action="store_true", help="torch.compile every model")
    parser.add_argument("--dry", action="store_true", help="toy size on the CPU; proves it works")
    options = parser.parse_args()
    print(EXPECTED)
    if not (options.dry or torch.cuda.is_available()):
        print(json.dumps({"skipped": "PyTorch sees no CUDA device; --dry runs on the CPU"}))
        return
    device = torch.device("cpu" if options.dry else "cuda")
    name = "cpu (dry: figures mean nothing)" if options.dry else torch.cuda.get_device_name()
    steps = 1 if options.dry else options.steps
    figures = measure(TOY if options.dry else CARD, device, steps, compiled=options.compile)
    for key, value in figures.items():
        print(f"{key:28} {value:12.4g}")
    known = {key: value if value == value else None for key, value in figures.items()}
    versions = {"torch": torch.__version__, "device": name, "dry": options.dry}
    print(json.dumps(known | versions))


if __name__ == "__main__":
    main()
