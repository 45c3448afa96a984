"""How long text takes to become batches: the corpus and mask stages, tokenising, collating.

    python benchmarks/data.py [KEY=VALUE ...]          e.g. source=synthetic

Runs both stages from nothing in a temporary folder, then times, on the training split and in the
same process: the fastest bare `tokenizers` batch call against all that the mask stage does with a
text (encode, cut, lay out, write Arrow), turn by turn on the first 6,000 documents; and fetching
and masking of 16,000 examples.
Last line: JSON with `elapsed_s` (corpus + mask), `corpus_s`, `mask_s`, `tokenise_vs_raw`
(bare time / stage time; 1 = no overhead), `tokens_per_s` (stage), `collate_tokens_per_s` per
strategy, `padding_share` (batches of 32 by length).
"""

import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer
from transformers import AutoTokenizer

sys.path.insert(0, str(Path(__file__).parent.parent))

from moescope.configs.compose import compose_config
from moescope.configs.schema import Config
from moescope.configs.stage import execute
from moescope.configs.stages import CORPUS, MASK
from moescope.data_processors.batching import length_grouped_order
from moescope.data_processors.collate import MaskingCollator
from moescope.data_processors.dataset_writer import SplitWriter
from moescope.data_processors.examples import ExampleDataset
from moescope.data_processors.mask import TEXTS_AT_ONCE
from moescope.data_processors.tokenizers import TextEncoder, tokenizer_facts

BATCH_SIZE = 32
ROUNDS = 3
NUM_DOCUMENTS, NUM_EXAMPLES = 6000, 16_000


def main(overrides: list[str]) -> None:
    """Runs everything and prints a table, then the line of JSON."""
    with tempfile.TemporaryDirectory() as runs:
        base = ["name=benchmark", f"paths.runs={runs}", *overrides]
        config = compose_config(base)
        corpus_s = execute(CORPUS, config, command="benchmark").elapsed_s
        manifest = execute(MASK, config, command="benchmark")
        figures: dict[str, Any] = {
            "elapsed_s": round(corpus_s + manifest.elapsed_s, 1),
            "corpus_s": round(corpus_s, 1),
            "mask_s": round(manifest.elapsed_s, 1),
            "documents": sum(manifest.counts["documents"].values()),
            "tokens": sum(manifest.counts["tokens"].values()),
        }
        figures |= time_tokenising(config)
        for strategy in ("token", "whole_word", "span"):
            figures |= time_collating(compose_config([*base, f"masking={strategy}"]), strategy)
    machine = platform.processor() or platform.machine()
    print(f"\n{machine}, {os.cpu_count()} cores, source={config.source.name}")
    for name, value in figures.items():
        print(f"{name:36} {value:>14,}")
    print(json.dumps(figures))


def time_tokenising(config: Config) -> dict[str, float]:
    """Times the bare batch call and the stage's work on the same texts, in turns."""
    path = next(config.paths.corpus.glob("train-*.parquet"))
    table = pq.read_table(path).slice(0, NUM_DOCUMENTS).combine_chunks()
    batches = table.to_batches(max_chunksize=TEXTS_AT_ONCE)
    texts = [batch["text"].to_pylist() for batch in batches]
    tokenizer = AutoTokenizer.from_pretrained(
        config.paths.dataset / "tokenizer", trust_remote_code=False
    )
    topics = pa.concat_arrays([batch["topic"] for batch in batches]).unique().to_pylist()

    def bare() -> None:
        backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        for batch in texts:
            backend.encode_batch_fast(batch, add_special_tokens=False)

    def stage() -> None:
        writer = SplitWriter(
            encoder=TextEncoder(tokenizer),
            facts=tokenizer_facts(tokenizer),
            topics=topics,
            dataset=config.dataset,
            masking=config.masking,
            seed=config.seed,
        )
        with tempfile.TemporaryDirectory() as folder:
            counts.update(writer.write(batches, Path(folder), "train", lambda done: None))

    counts: dict[str, int] = {}
    bare_s, stage_s = time_in_turns(bare, stage)
    return {
        "tokenise_vs_raw": round(bare_s / stage_s, 3),
        "raw_tokenise_s": round(bare_s, 2),
        "stage_tokenise_s": round(stage_s, 2),
        "tokens_per_s": round(counts["tokens"] / stage_s),
    }


def time_in_turns(first: Callable[[], None], second: Callable[[], None]) -> tuple[float, float]:
    """Returns the median time of each over alternating rounds, after one round of warming up."""
    rounds: list[list[float]] = [[], []]
    for _ in range(ROUNDS + 1):
        for work, times in zip((first, second), rounds, strict=True):
            begin = time.perf_counter()
            work()
            times.append(time.perf_counter() - begin)
    return statistics.median(rounds[0][1:]), statistics.median(rounds[1][1:])


def time_collating(config: Config, strategy: str) -> dict[str, float]:
    """Times fetching and masking of batches that are grouped by length."""
    dataset = ExampleDataset(config.paths.dataset, "train")
    tokenizer = AutoTokenizer.from_pretrained(
        config.paths.dataset / "tokenizer", trust_remote_code=False
    )
    collate = MaskingCollator(tokenizer_facts(tokenizer), config.masking, config.seed)
    order = length_grouped_order(dataset.lengths, BATCH_SIZE, config.seed, epoch=0)[:NUM_EXAMPLES]
    padded = 0
    begin = time.perf_counter()
    for start in range(0, len(order), BATCH_SIZE):
        rows = dataset.__getitems__(order[start : start + BATCH_SIZE].tolist())
        padded += collate(rows)["input_ids"].numel()
    elapsed_s = time.perf_counter() - begin
    tokens = int(dataset.lengths[order].sum())
    return {
        f"collate_tokens_per_s/{strategy}": round(tokens / elapsed_s),
        "padding_share": round(1 - tokens / padded, 4),
    }


if __name__ == "__main__":
    main(sys.argv[1:])
