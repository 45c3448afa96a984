"""Training speed of the encoder against a plain implementation of the same model.

    python benchmarks/train_encoder.py [--steps N] [--threads N]

Both train the same architecture from the same weights on the same batches: vocabulary 30,522,
width 256, 3 layers, 4 experts, top-1 (Switch weights), expert width 512, length 128, batch 32,
15 % masked; forward, backward, fused AdamW. The reference loops over a list of `nn.Linear`
experts, writes out the attention matrix, and computes logits at every position. Steps alternate
between the two, and the speed-up is the median of the pairs' ratios. The second row has 8 heads
of 512 in place of 8 of 32.

The last line is JSON: `speedup`, `speedup_wide_heads`, `loss_difference` (largest difference of
the two losses over all steps, relative).
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parent.parent))

from moescope.model import MoescopeConfig, MoescopeForMaskedLM

VOCAB_SIZE, BATCH, LENGTH, MASKED = 30_522, 32, 128, 0.15


class PlainExperts(nn.Module):
    def __init__(self, width: int, inner: int, num_experts: int) -> None:
        super().__init__()
        self.router = nn.Linear(width, num_experts, bias=False)
        self.gates = nn.ModuleList(nn.Linear(width, inner, bias=False) for _ in range(num_experts))
        self.ups = nn.ModuleList(nn.Linear(width, inner, bias=False) for _ in range(num_experts))
        self.downs = nn.ModuleList(nn.Linear(inner, width, bias=False) for _ in range(num_experts))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        weight, choice = self.router(flat).softmax(-1).max(-1)
        output = torch.zeros_like(flat)
        for e, (gate, up, down) in enumerate(zip(self.gates, self.ups, self.downs, strict=True)):
            mine = choice == e
            rows = flat[mine]
            output[mine] = down(F.silu(gate(rows)) * up(rows)) * weight[mine, None]
        return output.view_as(x)


class PlainLayer(nn.Module):
    def __init__(self, width: int, heads: int, head_dim: int, inner: int, num_experts: int) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, head_dim
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q = nn.Linear(width, heads * head_dim, bias=False)
        self.k = nn.Linear(width, heads * head_dim, bias=False)
        self.v = nn.Linear(width, heads * head_dim, bias=False)
        self.o = nn.Linear(heads * head_dim, width, bias=False)
        self.experts = PlainExperts(width, inner, num_experts)

    def split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, self.head_dim).transpose(1, 2)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        normed = self.norm_1(x)
        q, k, v = (self.split(project(normed)) for project in (self.q, self.k, self.v))
        q, k = q * cos + turn(q) * sin, k * cos + turn(k) * sin
        shares = (q @ k.transpose(-1, -2) / self.head_dim**0.5).softmax(-1)
        x = x + self.o((shares @ v).transpose(1, 2).flatten(2))
        return x + self.experts(self.norm_2(x))


def turn(x: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return torch.cat([-second, first], dim=-1)


class PlainEncoder(nn.Module):
    """The reference: what one writes first."""

    def __init__(self, config: MoescopeConfig) -> None:
        super().__init__()
        width, self.head_dim = config.hidden_size, config.attention_head_dim
        self.embed = nn.Embedding(config.vocab_size, width)
        self.layers = nn.ModuleList(
            PlainLayer(
                width,
                config.num_attention_heads,
                self.head_dim,
                config.moe_intermediate_size,
                config.num_experts,
            )
            for _ in range(config.num_hidden_layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, input_ids: Tensor, labels: Tensor) -> Tensor:
        angles = torch.arange(input_ids.shape[1])[:, None] * 10000.0 ** (
            -torch.arange(0, self.head_dim, 2) / self.head_dim
        )
        angles = torch.cat([angles, angles], dim=-1)
        x = self.embed(input_ids)
        for layer in self.layers:
            x = layer(x, angles.cos(), angles.sin())
        logits = self.norm(x) @ self.embed.weight.T
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), labels.view(-1))

    @torch.no_grad()
    def copy_from(self, model: MoescopeForMaskedLM) -> None:
        self.embed.weight.copy_(model.model.embed_tokens.weight)
        pairs: Any = zip(self.layers, model.model.layers, strict=True)
        for mine, theirs in pairs:
            for name in "qkvo":
                source = getattr(theirs.self_attn, f"{name}_proj").weight
                getattr(mine, name).weight.copy_(source)
            mine.experts.router.weight.copy_(theirs.mlp.gate.weight)
            for e in range(len(mine.experts.downs)):
                gate, up = theirs.mlp.experts.gate_up_proj[e].chunk(2)
                mine.experts.gates[e].weight.copy_(gate)
                mine.experts.ups[e].weight.copy_(up)
                mine.experts.downs[e].weight.copy_(theirs.mlp.experts.down_proj[e])


def batches(steps: int, seed: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Token ids (Zipf-like), labels, and the flat positions of the labels."""
    generator = torch.Generator().manual_seed(seed)
    shares = 1 / torch.arange(1, VOCAB_SIZE + 1).float()
    for _ in range(steps):
        ids = torch.multinomial(shares, BATCH * LENGTH, replacement=True, generator=generator)
        masked = torch.rand(BATCH * LENGTH, generator=generator) < MASKED
        labels = torch.where(masked, ids, -100).view(BATCH, LENGTH)
        inputs = torch.where(masked, 0, ids).view(BATCH, LENGTH)
        yield inputs, labels, masked.nonzero().squeeze(-1)


def compare(head_dim: int, steps: int) -> dict[str, float]:
    """Median times of a step (ms), median ratio of the pairs, largest relative loss difference."""
    torch.manual_seed(0)
    config = MoescopeConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=256,
        num_hidden_layers=3,
        num_attention_heads=8,
        head_dim=head_dim,
        moe_intermediate_size=512,
        num_experts=4,
        num_experts_per_tok=1,
        router={"name": "switch"},
    )
    model = MoescopeForMaskedLM(config).train()
    plain = PlainEncoder(config)
    plain.copy_from(model)
    optimizers = {
        name: torch.optim.AdamW(module.parameters(), lr=1e-3, fused=True)
        for name, module in (("ours", model), ("plain", plain))
    }
    times: dict[str, list[float]] = {"ours": [], "plain": []}
    differences = []
    for ids, labels, positions in batches(steps + 1, seed=1):
        losses = {}
        for name, optimizer in optimizers.items():
            started = time.perf_counter()
            if name == "ours":
                loss = model(ids, labels=labels, label_positions=positions).loss
            else:
                loss = plain(ids, labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            times[name].append(time.perf_counter() - started)
            losses[name] = loss.item()
        differences.append(abs(losses["ours"] - losses["plain"]) / losses["plain"])
    ratios = [p / o for p, o in zip(times["plain"][1:], times["ours"][1:], strict=True)]
    return {
        "ours_ms": 1e3 * statistics.median(times["ours"][1:]),
        "plain_ms": 1e3 * statistics.median(times["plain"][1:]),
        "speedup": statistics.median(ratios),
        "loss_difference": max(differences),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=12, help="timed steps per row")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{platform.processor() or platform.machine()}, {arguments.threads} threads, ", end="")
    print(f"torch {torch.__version__}, {BATCH * LENGTH} tokens a step")
    print(f"{'heads':>9} {'ours tok/s':>11} {'plain tok/s':>12} {'speed-up':>9} {'loss diff':>10}")
    rows = {}
    for name, head_dim in (("8 x 32", 32), ("8 x 512", 512)):
        row = rows[name] = compare(head_dim, arguments.steps)
        ours, plain = (1e3 * BATCH * LENGTH / row[key] for key in ("ours_ms", "plain_ms"))
        print(
            f"{name:>9} {ours:>11,.0f} {plain:>12,.0f} {row['speedup']:>9.2f} "
            f"{row['loss_difference']:>10.1e}",
            flush=True,
        )
    figures = {
        "speedup": round(rows["8 x 32"]["speedup"], 3),
        "speedup_wide_heads": round(rows["8 x 512"]["speedup"], 3),
        "loss_difference": max(row["loss_difference"] for row in rows.values()),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
