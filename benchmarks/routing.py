"""What recording costs: over the forward pass, against Python counters, and in memory.

    python benchmarks/routing.py [--quick] [--threads N] [--millions N]

Last line: JSON with `capture_overhead` (share of time that recording adds to the forward pass with
its loss, demo's size, median of pairs), `speedup_vs_counter` and `speedup_vs_counter_update` (load
of 2,048 tokens x 16 layers x 8 of 64 experts, against a loop over slots and against one
`Counter.update` per token and layer), `all_tables_ms` (every table of the store for the same
tokens), `memory_growth` (peak of recording `--millions` million tokens over that of one million).
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent.parent))

from moescope.inference.recording.capture import RoutingCapture
from moescope.inference.recording.forward import Observer
from moescope.inference.recording.recorder import Observation, RoutingRecorder, TokenFacts
from moescope.inference.recording.tables import TableSizes, add_ones, expert_slots
from moescope.inference.recording.token_classes import TOKEN_CLASSES
from moescope.inference.store.schema import StoreFacts
from moescope.inference.store.writer import StoreWriter
from moescope.model import MoescopeConfig, MoescopeForMaskedLM

VOCABULARY, LENGTH, BATCH, TOPICS, SPECIAL = 8192, 128, 64, 9, 4


def demo_sizes(num_layers: int = 4, num_experts: int = 8, top_k: int = 2) -> TableSizes:
    """Axes as in the demo: 4 layers of 8 experts, two per token, 4,096 types."""
    return TableSizes(
        TOPICS, num_layers, num_experts, top_k, 4096, len(TOKEN_CLASSES), 16, SPECIAL + 1, top_k
    )


def make_facts(num_documents: int, num_sampled: int) -> TokenFacts:
    """Facts of made-up documents, one window each; the first ones are sampled."""
    topics = np.arange(num_documents) % TOPICS
    documents = pa.table(
        {
            "id": [f"d{i}" for i in range(num_documents)],
            "topic": pa.array([f"topic {t}" for t in topics]),
            "topic_id": pa.array(topics, pa.int32()),
            "date": pa.nulls(num_documents, pa.date32()),
            "source": ["synthetic"] * num_documents,
            "group": [str(n) for n in range(num_documents)],
            "num_tokens": pa.array(np.full(num_documents, LENGTH), pa.int32()),
        }
    )
    return TokenFacts(
        row_of_id=torch.arange(VOCABULARY).clamp(max=4096),
        class_of_id=torch.arange(VOCABULARY) % len(TOKEN_CLASSES),
        special_of_id=torch.arange(VOCABULARY).clamp(max=SPECIAL),
        topic_of_document=torch.from_numpy(topics),
        sampled=torch.arange(num_documents) < num_sampled,
        documents=documents,
        sequence_length=LENGTH,
    )


def make_batch(first_document: int, generator: torch.Generator) -> dict[str, Tensor]:
    """A batch as the collator makes it: 15 % selected, 80/10/10, special tokens at the ends."""
    shape = (BATCH, LENGTH)
    ids = torch.randint(5, VOCABULARY, shape, generator=generator)
    draw = torch.rand(shape, generator=generator)
    kind = torch.where(draw < 0.12, 1, torch.where(draw < 0.135, 2, (draw < 0.15) * 3))
    kind[:, [0, -1]] = 4
    labels = torch.where((kind > 0) & (kind < 4), ids, -100)
    documents = torch.arange(first_document, first_document + BATCH)[:, None]
    return {
        "input_ids": ids.masked_fill(kind == 1, 4),
        "attention_mask": torch.ones(shape, dtype=torch.int64),
        "labels": labels,
        "label_positions": (labels.flatten() >= 0).nonzero().squeeze(1),
        "mask_kind": kind,
        "document_ids": documents.expand(shape).contiguous(),
    }


def milliseconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - start)


def capture_overhead(repeats: int) -> dict[str, float]:
    """Share of time that recording adds to the plain forward pass with loss; median of pairs."""
    torch.manual_seed(0)
    config = MoescopeConfig(
        vocab_size=VOCABULARY,
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=384,
        moe_intermediate_size=192,
        num_experts=8,
        num_experts_per_tok=2,
        router={"name": "topk"},
    )
    network = MoescopeForMaskedLM(config).eval()
    batch = make_batch(0, torch.Generator().manual_seed(0))
    names = ("input_ids", "attention_mask", "labels", "label_positions")

    @torch.inference_mode()
    def plain() -> None:
        network(**{name: batch[name] for name in names})

    sizes, device = demo_sizes(), torch.device("cpu")
    rows = np.arange(BATCH)
    with (
        tempfile.TemporaryDirectory() as folder,
        StoreWriter(Path(folder), num_layers=4, num_experts=8, num_slots=2) as writer,
    ):
        # the demo samples all its documents
        recorder = RoutingRecorder(sizes, make_facts(BATCH, BATCH))

        capture = RoutingCapture(network)
        observer = Observer(network, capture, device)

        def recorded() -> None:
            with capture:
                recorder.begin_chunk(0, BATCH - 1)
                recorder.add(batch, rows, observer(batch))
                writer.append(recorder.end_chunk())

        plain()
        recorded()
        pairs = [(milliseconds(plain), milliseconds(recorded)) for _ in range(repeats)]
    return {
        "plain_ms": statistics.median(p for p, _ in pairs),
        "recorded_ms": statistics.median(r for _, r in pairs),
        "capture_overhead": statistics.median(r / p for p, r in pairs) - 1,
    }


def count_with_counters(experts: Tensor) -> Counter[tuple[int, int]]:
    """Load per layer and expert, the common way: token by token, slot by slot."""
    counts: Counter[tuple[int, int]] = Counter()
    for token in experts.tolist():
        for layer, chosen in enumerate(token):
            for expert in chosen:
                counts[layer, expert] += 1
    return counts


def count_with_updates(experts: Tensor) -> list[Counter[int]]:
    """The same with one `Counter.update` per token and layer, the fastest use of Counter."""
    counts: list[Counter[int]] = [Counter() for _ in range(experts.shape[1])]
    for token in experts.tolist():
        for counter, chosen in zip(counts, token, strict=True):
            counter.update(chosen)
    return counts


def speedup_vs_counter(repeats: int) -> dict[str, float]:
    """2,048 tokens x 16 layers x 8 of 64 experts: the load table, and all tables of the store."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand((BATCH * LENGTH // 4, 16, 64), generator=generator)
    weights, experts = scores.topk(8, -1)
    table = torch.zeros((16, 65), dtype=torch.int64)
    batch = {name: values[: BATCH // 4] for name, values in make_batch(0, generator).items()}
    positions = (batch["labels"].flatten() >= 0).nonzero().squeeze(1)
    batch["label_positions"] = positions
    seen = Observation(
        experts, weights, scores[..., :3], positions, torch.rand(len(positions)), scores[:, 0]
    )
    sizes = demo_sizes(16, 64, 8)
    recorder = RoutingRecorder(sizes, make_facts(BATCH, 1))

    def all_tables() -> None:
        recorder.begin_chunk(0, BATCH // 4 - 1)
        recorder.add(batch, np.arange(BATCH // 4), seen)

    work: dict[str, Callable[[], object]] = {
        "counter_ms": lambda: count_with_counters(experts),
        "counter_update_ms": lambda: count_with_updates(experts),
        "load_table_ms": lambda: add_ones(table, expert_slots(experts, 64).view(-1)),
        "all_tables_ms": all_tables,
    }
    times = {name: [milliseconds(f) for _ in range(repeats)][1:] for name, f in work.items()}
    for (layer, expert), count in count_with_counters(experts).items():
        assert table[layer, expert] == repeats * count, "the two ways must agree"
    result = {name: min(values) for name, values in times.items()}  # the least disturbed
    result["speedup_vs_counter"] = result["counter_ms"] / result["load_table_ms"]
    result["speedup_vs_counter_update"] = result["counter_update_ms"] / result["load_table_ms"]
    return result


def record_synthetic(num_tokens: int) -> float:
    """Records so many made-up tokens into a store; returns the process' peak memory in MiB."""
    generator = torch.Generator().manual_seed(0)
    sizes = demo_sizes()
    num_batches = num_tokens // (BATCH * LENGTH)
    facts = make_facts(num_batches * BATCH, 4 * TOPICS)
    rows = np.arange(BATCH)
    options = {"num_layers": 4, "num_experts": 8, "num_slots": 2}
    with tempfile.TemporaryDirectory() as folder, StoreWriter(Path(folder), **options) as writer:
        recorder = RoutingRecorder(sizes, facts)
        for number in range(num_batches):
            batch = make_batch(number * BATCH, generator)
            scores = torch.rand((BATCH * LENGTH, 4, 8), generator=generator)
            weights, experts = scores.topk(2, -1)
            positions = batch["label_positions"]
            loss = torch.rand(len(positions), generator=generator)
            recorder.begin_chunk(number * BATCH, number * BATCH + BATCH - 1)
            seen = Observation(experts, weights, scores[..., :3], positions, loss, scores[:, 0])
            recorder.add(batch, rows + number * BATCH, seen)
            writer.append(recorder.end_chunk())
        writer.finish(
            _synthetic_facts(sizes, recorder, writer),
            recorder.tables.arrays(),
            *recorder.sample.columns(4, 2),
        )
    return peak_mib()


def peak_mib() -> float:
    """Peak resident memory; Linux's `ru_maxrss` would include what the parent held at the fork."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _synthetic_facts(
    sizes: TableSizes, recorder: RoutingRecorder, writer: StoreWriter
) -> StoreFacts:
    return StoreFacts(
        layers=list(range(sizes.num_layers)),
        num_experts=sizes.num_experts,
        top_k=sizes.top_k,
        topics=[f"topic {t}" for t in range(TOPICS)],
        num_tokens=recorder.num_tokens,
        num_documents=writer.num_documents,
        types=list(range(sizes.num_types)),
        type_strings=["x"] * (sizes.num_types + 1),
        token_classes=list(TOKEN_CLASSES),
        type_classes=[0] * sizes.num_types,
        position_edges=list(range(sizes.num_positions)),
        places=[("untouched", "x")] * sizes.num_places,
        model="synthetic",
        split="probe",
    )


def memory_growth(millions: tuple[int, int], threads: int) -> dict[str, float]:
    """Peak memory of a process that records many tokens over one that records few."""
    peaks = {}
    for count in millions:
        options = ["--record", str(count * 10**6), "--threads", str(threads)]
        command = [sys.executable, __file__, *options]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        peaks[f"peak_mib_{count}m"] = float(output)
    few, many = peaks.values()
    return peaks | {"memory_growth": many / few}


def main() -> None:
    """Runs the three measurements and prints them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repeats, less certain")
    parser.add_argument("--millions", type=int, default=10, help="tokens of the larger recording")
    parser.add_argument("--threads", type=int, default=2, help="of torch")
    parser.add_argument("--record", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.record:
        print(record_synthetic(arguments.record))
        return
    repeats = 5 if arguments.quick else 21
    figures = (
        capture_overhead(repeats)
        | speedup_vs_counter(2 * repeats)
        | memory_growth((1, arguments.millions), arguments.threads)
    )
    table = Table("figure", "value", title="Recording routing", title_justify="left")
    for name, value in figures.items():
        table.add_row(name, f"{value:,.3f}")
    Console().print(table)
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
