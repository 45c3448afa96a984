"""Cost of the MoE layer against a dense FFN of the same active size, and against others' layers.

    python benchmarks/moe_layer.py [--rounds N] [--threads N] [--quick]

Forward and backward in float32 over 4,096 tokens, router included; every implementation runs once
per round, and a figure is the median over rounds of its time over the dense time of that round.
Freed memory is kept for all alike (configs/allocator.py), as in the train stage; keys that end in
`_default_allocator` are the same figures with the C library's allocator as it comes.
`st-moe-pytorch` and `mixture-of-experts` take part when installed (`pip install st-moe-pytorch
mixture-of-experts`); they keep their own router, which assigns within groups of 128 tokens with
room for twice the balanced load: nearly nothing is dropped.

The last line is JSON: `geomean_vs_dense`, `worst_vs_dense` (ours, over the shapes),
`activation_memory_vs_dense` (worst peak without weights and their gradients), `inference_vs_best`
(worst, 1 to 256 tokens, against the best library implementation), `model_vs_dense` and
`step_vs_dense` (encoder, forward and backward, and with fused AdamW), `rows`, and
`geomean_vs_dense_default_allocator` and `worst_vs_dense_default_allocator`.
"""

import argparse
import importlib.util
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

sys.path.insert(0, str(Path(__file__).parent.parent))

from moescope.configs.allocator import keep_freed_memory
from moescope.model import MoescopeConfig, MoescopeForMaskedLM, RoutingContext
from moescope.model.feed_forward import MoescopeMLP
from moescope.model.modeling_moescope import MoescopeSparseMLP

TOKENS = 4096
Shape = tuple[int, int, int, int]  # width, expert width, experts, top-k
SHAPES: list[Shape] = [
    (256, 512, 4, 1),
    (256, 512, 8, 2),
    (256, 256, 64, 8),
    (384, 768, 8, 2),
    (512, 1024, 16, 2),
]
LIBRARY = ("eager", "grouped_mm")
OTHERS = {"st-moe": "st_moe_pytorch", "moe-pkg": "mixture_of_experts"}
GROUP = 128  # tokens that the packages' routers assign together
Layer = Callable[[Tensor], Tensor]


def sparse_layer(shape: Shape, implementation: str) -> nn.Module:
    """Our MoE block with the experts dispatched to one implementation."""
    width, inner, num_experts, top_k = shape
    config = MoescopeConfig(
        hidden_size=width,
        num_attention_heads=4,
        moe_intermediate_size=inner,
        num_experts=num_experts,
        num_experts_per_tok=top_k,
        router={"name": "topk", "renormalise": top_k > 1},
    )
    config._experts_implementation = implementation
    return spread(MoescopeSparseMLP(config, layer_idx=0))


def dense_layer(shape: Shape) -> nn.Module:
    width, inner, _, top_k = shape
    return spread(MoescopeMLP(MoescopeConfig(hidden_size=width), inner * top_k))


def spread(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.05, generator=generator)
    return module


def first_of(layer: nn.Module, *arguments: Any) -> Layer:
    """The layer's output without what it returns beside it."""
    return lambda x: layer(x, *arguments)[0]


def in_groups(layer: nn.Module) -> Layer:
    """The layer over (tokens / GROUP, GROUP, D)."""
    return lambda x: layer(x.view(-1, GROUP, x.shape[-1]))[0].view_as(x)


def others(shape: Shape) -> dict[str, nn.Module]:
    """The two packages' layers of the same active size, where installed and with that top-k."""
    width, inner, num_experts, top_k = shape
    found: dict[str, nn.Module] = {}
    for name, module_name in OTHERS.items():
        if importlib.util.find_spec(module_name) is None:
            continue
        package: Any = importlib.import_module(module_name)
        # both count capacity in tokens, not in choices
        room = {"num_experts": num_experts, "capacity_factor_train": 2.0 * top_k}
        if name == "st-moe" and top_k > 1:  # the package has no top-1 gating
            found[name] = package.MoE(
                dim=width,
                gating_top_n=top_k,
                expert_hidden_mult=1.5 * inner / width,  # its GEGLU takes two thirds
                threshold_train=0.0,
                **room,
            )
        if name == "moe-pkg" and top_k == 2:  # the package has top-2 gating only
            # two matrices per expert in place of three
            found[name] = package.MoE(
                dim=width, hidden_dim=3 * inner // 2, second_policy_train="all", **room
            )
    return found


def contestants(shape: Shape) -> tuple[dict[str, Layer], list[nn.Module]]:
    modules = {"dense": dense_layer(shape), "ours": sparse_layer(shape, "moescope_cpu")}
    modules |= {name: sparse_layer(shape, name) for name in LIBRARY}
    context = RoutingContext(batch_size=1)
    layers: dict[str, Layer] = {}
    for name, module in modules.items():
        layers[name] = module if name == "dense" else first_of(module, context)
    all_modules = list(modules.values())
    for name, module in others(shape).items():
        all_modules.append(module)
        layers[name] = in_groups(module)
    return layers, all_modules


def ratios_to_dense(
    layers: dict[str, Layer], modules: list[nn.Module], width: int, rounds: int
) -> tuple[dict[str, float], float]:
    """Median over rounds of time over dense time, and the dense median in ms."""
    x = torch.randn(1, TOKENS, width, requires_grad=True)
    direction = torch.randn(1, TOKENS, width)
    times: dict[str, list[float]] = {name: [] for name in layers}
    for _ in range(rounds + 1):
        for name, layer in layers.items():
            for module in modules:
                module.zero_grad()
            x.grad = None
            started = time.perf_counter()
            layer(x).backward(direction)
            times[name].append(time.perf_counter() - started)
    dense = times["dense"][1:]
    ratios = {
        name: statistics.median(t / d for t, d in zip(values[1:], dense, strict=True))
        for name, values in times.items()
    }
    return ratios, 1e3 * statistics.median(dense)


def peak_bytes(layer: Layer, module: nn.Module, width: int) -> int:
    """Peak of live allocations in forward and backward, without the weights' gradients."""
    x = torch.randn(1, TOKENS, width, requires_grad=True)
    direction = torch.randn(1, TOKENS, width)
    module.zero_grad()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        layer(x).backward(direction)
    results: Any = profiler.profiler
    events = [e for e in results.kineto_results.events() if e.name() == "[memory]"]
    live = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    gradients = sum(p.grad.nbytes for p in module.parameters() if p.grad is not None)
    return peak - gradients


def inference_ratio(shape: Shape, tokens: int, rounds: int) -> float:
    """Ours over the best of the library's implementations, forward only."""
    # batched_mm copies a weight per slot: seconds, and gigabytes, beyond a few tokens
    names = ("moescope_cpu", *LIBRARY, *(["batched_mm"] if tokens <= 16 else []))
    layers = {name: sparse_layer(shape, name).eval() for name in names}
    context, x = RoutingContext(batch_size=1), torch.randn(1, tokens, shape[0])
    times: dict[str, list[float]] = {name: [] for name in names}
    with torch.no_grad():
        for _ in range(rounds):
            for name, layer in layers.items():
                started = time.perf_counter()
                layer(x, context)
                times[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(values[2:]) for name, values in times.items()}
    ours = medians.pop("moescope_cpu")
    return ours / min(medians.values())


def model_ratios(rounds: int) -> tuple[float, float]:
    """MoE encoder over the dense one of the same active size: fwd + bwd, and a whole step."""
    common: dict[str, Any] = {"vocab_size": 8192, "hidden_size": 256, "num_hidden_layers": 4}
    configs = {
        "dense": MoescopeConfig(**common, num_experts=0, intermediate_size=1024),
        "moe": MoescopeConfig(**common, num_experts=8, moe_intermediate_size=512),
    }
    ids = torch.randint(0, 8192, (32, 128))
    positions = torch.arange(0, ids.numel(), 7)
    times: dict[str, list[tuple[float, float]]] = {"dense": [], "moe": []}
    models = {name: MoescopeForMaskedLM(config).train() for name, config in configs.items()}
    optimizers = {n: torch.optim.AdamW(m.parameters(), fused=True) for n, m in models.items()}
    for _ in range(rounds + 1):
        for name, model in models.items():
            started = time.perf_counter()
            model(ids, labels=ids, label_positions=positions).loss.backward()
            passed = time.perf_counter() - started
            optimizers[name].step()
            optimizers[name].zero_grad()
            times[name].append((passed, time.perf_counter() - started))
    pairs = list(zip(times["moe"][1:], times["dense"][1:], strict=True))
    return (
        statistics.median(moe[0] / dense[0] for moe, dense in pairs),
        statistics.median(moe[1] / dense[1] for moe, dense in pairs),
    )


def print_table(rows: list[dict[str, Any]]) -> None:
    table = Table(title=f"forward + backward, {TOKENS:,} tokens, time (and memory) over dense")
    names = ["ours", *LIBRARY, *OTHERS, "memory"]
    for column in ("shape", "dense ms", *names):
        table.add_column(column, justify="right", overflow="fold")
    for row in rows:
        cells = []
        for name in names:
            absent = name in OTHERS and importlib.util.find_spec(OTHERS[name]) is None
            missing = "not installed" if absent else "no such top-k"
            cells.append(f"{row[name]:.2f}" if name in row else missing)
        table.add_row(" ".join(map(str, row["shape"])), f"{row['dense_ms']:.1f}", *cells)
    Console(width=110).print(table)


def measure(shape: Shape, rounds: int) -> dict[str, Any]:
    """A row of the table: ratios of time, and of peak memory, to dense."""
    layers, modules = contestants(shape)
    ratios, dense_ms = ratios_to_dense(layers, modules, shape[0], rounds)
    ratios.pop("dense")
    dense, ours = (
        peak_bytes(layers[name], module, shape[0])
        for name, module in zip(("dense", "ours"), modules, strict=False)
    )
    return {"shape": shape, "dense_ms": round(dense_ms, 1), "memory": ours / dense} | ratios


def measure_default_allocator(shape: Shape, rounds: int) -> float:
    """Ours over dense while freed memory goes back to the system."""
    layers, modules = contestants(shape)
    pair = {name: layers[name] for name in ("dense", "ours")}
    return ratios_to_dense(pair, modules, shape[0], rounds)[0]["ours"]


def geometric_mean(values: Sequence[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, values)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help="timed rounds per shape")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--quick", action="store_true", help="first two shapes, three rounds")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rounds = 3 if arguments.quick else arguments.rounds
    shapes = SHAPES[:2] if arguments.quick else SHAPES
    before = [measure_default_allocator(shape, rounds) for shape in shapes]
    keep_freed_memory()  # for the rest of the process
    rows = [measure(shape, rounds) for shape in shapes]
    inference = [inference_ratio(s, tokens, 4 * rounds) for s in shapes for tokens in (1, 16, 256)]
    print_table(rows)
    forward_backward, step = model_ratios(rounds)
    ours = [row["ours"] for row in rows]
    figures: dict[str, float] = {
        "geomean_vs_dense": geometric_mean(ours),
        "worst_vs_dense": max(ours),
        "geomean_vs_dense_default_allocator": geometric_mean(before),
        "worst_vs_dense_default_allocator": max(before),
        "activation_memory_vs_dense": max(row["memory"] for row in rows),
        "inference_vs_best": max(inference),
        "model_vs_dense": forward_backward,
        "step_vs_dense": step,
    }
    figures = {name: round(value, 3) for name, value in figures.items()}
    print(json.dumps(figures | {"rows": rows}))


if __name__ == "__main__":
    main()
