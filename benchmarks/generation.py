"""Generation with a cache at batch 1: an MoE decoder against the dense one of its active size.

    python benchmarks/generation.py [--threads N] [--tokens N] [--pairs N] [--clock cpu] [--quick]

Both models have random weights, the same blocks and the same active parameters (the dense FFN is
as wide as the chosen experts together) and continue the same prompt greedily with `generate`, in
turns.
`--clock cpu --threads 1` counts processor time, which other work on the machine changes less.

The last line is JSON: `moe_over_dense_tokens_per_s` (the smallest over the shapes of the median of
pairs), and `rows` (per shape the ratio and both rates).
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent.parent))

from moescope.model import MoescopeConfig, MoescopeForCausalLM

# width, blocks, heads, expert width, experts, experts per token
SHAPES = (
    (128, 4, 4, 192, 8, 2),
    (256, 6, 8, 512, 8, 2),
    (512, 8, 8, 1024, 16, 2),
    (512, 8, 8, 256, 64, 8),
)
PROMPT = 32
Clock = Callable[[], float]


def build(shape: Sequence[int], *, dense: bool) -> MoescopeForCausalLM:
    """A decoder with random weights, MoE or the dense twin of its active size."""
    width, layers, heads, expert_width, experts, top_k = shape
    config = MoescopeConfig(
        vocab_size=8192,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=top_k * expert_width,
        moe_intermediate_size=expert_width,
        num_experts=0 if dense else experts,
        num_experts_per_tok=top_k,
        norm_type="rms",
        is_causal=True,
    )
    torch.manual_seed(0)
    return MoescopeForCausalLM(config).eval()


def generation_s(model: Any, prompt: Tensor, num_tokens: int, clock: Clock) -> float:
    """Seconds that `generate` takes for `num_tokens` new tokens."""
    started = clock()
    ids = model.generate(prompt, max_new_tokens=num_tokens, do_sample=False, pad_token_id=0)
    elapsed_s = clock() - started
    assert ids.shape[1] == prompt.shape[1] + num_tokens
    return elapsed_s


def measure(shape: Sequence[int], options: argparse.Namespace, clock: Clock) -> dict[str, Any]:
    """One row: medians over pairs, each dense then MoE."""
    dense, moe = build(shape, dense=True), build(shape, dense=False)
    prompt = torch.randint(8192, (1, PROMPT), generator=torch.Generator().manual_seed(0))
    for model in (dense, moe):
        generation_s(model, prompt, 8, clock)
    pairs = [
        tuple(generation_s(model, prompt, options.tokens, clock) for model in (dense, moe))
        for _ in range(options.pairs)
    ]
    return {
        "shape": list(shape),
        "moe_over_dense": statistics.median(d / m for d, m in pairs),
        "dense_tokens_per_s": options.tokens / statistics.median(d for d, _ in pairs),
        "moe_tokens_per_s": options.tokens / statistics.median(m for _, m in pairs),
    }


def show(rows: Sequence[dict[str, Any]]) -> None:
    """Print the table."""
    table = Table("width", "blocks", "heads", "expert", "experts", "top-k", "dense/s", "MoE/s", "×")
    for row in rows:
        rates = (row["dense_tokens_per_s"], row["moe_tokens_per_s"])
        cells = [*map(str, row["shape"]), *(f"{rate:,.0f}" for rate in rates)]
        table.add_row(*cells, f"{row['moe_over_dense']:.2f}")
    Console().print(table)


def main() -> None:
    """Measure every shape."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=128, help="new tokens per run")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--quick", action="store_true", help="two shapes, few pairs")
    options = parser.parse_args()
    if options.quick:
        options.tokens, options.pairs = 32, 3
    torch.set_num_threads(options.threads)
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    shapes = SHAPES[:2] if options.quick else SHAPES
    rows = [measure(shape, options, clock) for shape in shapes]
    show(rows)
    worst = min(row["moe_over_dense"] for row in rows)
    print(json.dumps({"moe_over_dense_tokens_per_s": worst, "rows": rows}))


if __name__ == "__main__":
    main()
