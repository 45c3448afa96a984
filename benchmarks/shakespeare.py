"""nanoGPT's CPU recipe on Shakespeare: dense, `nanogpt_moe`, and our best decoder, side by side.

    python benchmarks/shakespeare.py --text PATH [--steps N] [--threads N] [--quick]

The text's first 90 % train, the rest validates; tokens are its characters. All three models see
the same batches of 12 x 64 characters, in turns of ten steps, so that ratios of time are paired;
recipes are `experiment=nanogpt_moe` (dense: the same with GPT-2's plain FFN in place of experts)
and `experiment=moe_decoder`, optimised as in the train stage. Validation is over the whole
validation text in blocks of 64 that see nothing before them, in nats per character.

The last line is JSON: `val_loss` (nanogpt_moe), `best_val_loss` (moe_decoder), `dense_val_loss`,
`moe_over_dense_step` (median of pairs, optimizer included), `tokens_per_s` (nanogpt_moe),
`max_violation` (largest over its layers, on the validation text: the busiest expert's load over
the mean, minus 1), and under `models` the same for each model.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parent.parent))

from moescope.configs.allocator import keep_freed_memory
from moescope.configs.compose import compose_config
from moescope.configs.schema import Config
from moescope.model import MoescopeConfig, MoescopeForCausalLM, balance_losses
from moescope.train.arguments import learning_rate_factor

BATCH, LENGTH, TURN = 12, 64, 10
RECIPES = {
    "dense": [
        "experiment=nanogpt_moe",
        "model.num_experts=0",
        "model.gated=false",
        "model.hidden_act=gelu",
    ],
    "nanogpt_moe": ["experiment=nanogpt_moe"],
    "moe_decoder": ["experiment=moe_decoder"],
}


class Text(NamedTuple):
    """Character ids."""

    train: Tensor
    validation: Tensor
    num_characters: int


def read_text(path: Path) -> Text:
    """Split a text 90 : 10; ids number its characters in code point order."""
    text = path.read_text(encoding="utf-8")
    ids_of = {character: i for i, character in enumerate(sorted(set(text)))}
    ids = torch.tensor([ids_of[character] for character in text])
    cut = int(0.9 * len(ids))
    return Text(ids[:cut], ids[cut:], len(ids_of))


class Contestant:
    """One model with its optimizer, as its recipe has them."""

    def __init__(self, config: Config, num_characters: int, steps: int) -> None:
        self.settings, self.steps = config.train, steps
        router = config.router.model_dump()
        architecture: dict[str, Any] = config.model.model_dump() | {
            "num_experts_per_tok": router.pop("top_k"),
            "router": router,
            "vocab_size": num_characters,
            "pad_token_id": None,
        }
        torch.manual_seed(config.seed)
        self.model = MoescopeForCausalLM(MoescopeConfig(**architecture)).train()
        balance = config.balance.model_dump(exclude={"scope"}) if config.model.num_experts else {}
        self.coefficients = {name: value for name, value in balance.items() if value}
        matrices = [p for p in self.model.parameters() if p.dim() >= 2]
        vectors = [p for p in self.model.parameters() if p.dim() < 2]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": self.settings.weight_decay},
                {"params": vectors, "weight_decay": 0.0},
            ],
            lr=self.settings.learning_rate,
            betas=(0.9, self.settings.adam_beta2),
            fused=True,
        )
        self.turn_s: list[float] = []

    def turn(self, batches: Sequence[Tensor], first_step: int) -> None:
        """Train on some batches (B, S + 1) and note the seconds per step."""
        started = time.perf_counter()
        for step, batch in enumerate(batches, first_step):
            self._step(batch, step)
        self.turn_s.append((time.perf_counter() - started) / len(batches))

    def _step(self, batch: Tensor, step: int) -> None:
        factor = learning_rate_factor(step, self.steps, self.settings)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * factor
        outputs = self.model(batch[:, :-1], output_routing=bool(self.coefficients))
        loss = F.cross_entropy(outputs.logits.flatten(0, 1), batch[:, 1:].flatten())
        if self.coefficients:
            balance = balance_losses(outputs.routing, None, list(self.coefficients))
            loss = loss + sum(c * balance[name] for name, c in self.coefficients.items())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.model.after_optimizer_step()

    @torch.no_grad()
    def validate(self, ids: Tensor) -> tuple[float, list[float]]:
        """Nats per character over all but the first, and MaxVio of each MoE layer."""
        self.model.eval()
        whole = (len(ids) - 1) // LENGTH * LENGTH
        x_blocks, y_blocks = ids[:whole].view(-1, LENGTH), ids[1 : whole + 1].view(-1, LENGTH)
        pieces = list(zip(x_blocks.split(128), y_blocks.split(128), strict=True))
        if whole < len(ids) - 1:  # what is left over is shorter
            pieces.append((ids[None, whole:-1], ids[None, whole + 1 :]))
        total, loads = 0.0, []
        for x, y in pieces:
            outputs = self.model(x, output_routing=True)
            total += F.cross_entropy(
                outputs.logits.flatten(0, 1), y.flatten(), reduction="sum"
            ).item()
            loads.append([routing.counts() for routing in outputs.routing])
        self.model.train()
        sums = [torch.stack(layer).sum(0).double() for layer in zip(*loads, strict=True)]
        return total / (len(ids) - 1), [(load.max() / load.mean() - 1).item() for load in sums]


def race(text: Text, steps: int, recipes: dict[str, list[str]]) -> dict[str, dict[str, Any]]:
    """Train every recipe on the same batches and measure each."""
    contestants = {
        name: Contestant(compose_config(overrides), text.num_characters, steps)
        for name, overrides in recipes.items()
    }
    generator = torch.Generator().manual_seed(1337)
    for first in range(0, steps, TURN):
        batches = []
        for _ in range(min(TURN, steps - first)):
            starts = torch.randint(len(text.train) - LENGTH, (BATCH, 1), generator=generator)
            batches.append(text.train[starts + torch.arange(LENGTH + 1)])
        for contestant in contestants.values():
            contestant.turn(batches, first)
    rows: dict[str, dict[str, Any]] = {}
    reference = next(iter(contestants.values())).turn_s
    for name, contestant in contestants.items():
        loss, violations = contestant.validate(text.validation)
        pairs = zip(contestant.turn_s, reference, strict=True)
        rows[name] = {
            "val_loss": round(loss, 4),
            "over_dense_step": round(statistics.median(mine / dense for mine, dense in pairs), 3),
            "tokens_per_s": round(BATCH * LENGTH / statistics.median(contestant.turn_s)),
            "violations": [round(v, 3) for v in violations],
            "parameters": contestant.model.num_parameters(),
        }
    return rows


def print_table(rows: dict[str, dict[str, Any]], steps: int) -> None:
    table = Table(title=f"{steps:,} steps of {BATCH} x {LENGTH} characters")
    for column in (
        "model",
        "parameters",
        "nats/char",
        "step / dense",
        "chars/s",
        "MaxVio by layer",
    ):
        table.add_column(column, justify="left" if column == "model" else "right")
    for name, row in rows.items():
        table.add_row(
            name,
            f"{row['parameters']:,}",
            f"{row['val_loss']:.3f}",
            f"{row['over_dense_step']:.2f}",
            f"{row['tokens_per_s']:,}",
            " ".join(f"{v:.2f}" for v in row["violations"]),
        )
    Console(width=110).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=Path, required=True, help="the text, UTF-8")
    parser.add_argument("--steps", type=int, default=2000, help="optimizer steps")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--quick", action="store_true", help="40 steps")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    steps = 40 if arguments.quick else arguments.steps
    rows = race(read_text(arguments.text), steps, RECIPES)
    print_table(rows, steps)
    moe = rows["nanogpt_moe"]
    figures = {
        "val_loss": moe["val_loss"],
        "best_val_loss": rows["moe_decoder"]["val_loss"],
        "dense_val_loss": rows["dense"]["val_loss"],
        "moe_over_dense_step": moe["over_dense_step"],
        "tokens_per_s": moe["tokens_per_s"],
        "max_violation": max(moe["violations"]),
    }
    print(json.dumps(figures | {"models": rows}))


if __name__ == "__main__":
    main()
