"""How long the statistics of a large report take.

    python benchmarks/statistics.py [--quick]

12 layers x 64 experts x 20 topics x 20,000 documents, 999 permutations, a sample of 500,000 tokens;
--quick: a hundredth of the documents and 19 permutations. Last line: JSON with `elapsed_s` (the
sum of `parts`), `parts` (seconds by step), `cpu_s` (processor time, which other programs on the
machine hardly change), `peak_mb` and the sizes.
"""

import argparse
import json
import resource
import sys
import time
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent.parent))

from moescope.analysis.chapters.context.measures import beyond_vocabulary
from moescope.analysis.chapters.form.measures import form_information
from moescope.analysis.chapters.load.measures import expert_load, layer_balance
from moescope.analysis.chapters.paths.locality import locality
from moescope.analysis.chapters.paths.measures import coactivation_pairs, layer_flow
from moescope.analysis.chapters.time.measures import analyse_time
from moescope.analysis.chapters.topic_classifier.measures import classifier_input, topic_classifier
from moescope.analysis.chapters.topic_map.measures import document_points, topic_map
from moescope.analysis.chapters.topics.cells import topic_expert_cells
from moescope.analysis.chapters.topics.information import topic_information, topic_null
from moescope.analysis.chapters.topics.origins import origin_information
from moescope.analysis.data.documents import DocumentCounts
from moescope.analysis.data.sample import TokenSample
from moescope.analysis.data.token_types import TypeCounts
from moescope.analysis.statistics.bootstrap import poisson_weights
from moescope.analysis.statistics.permutations import (
    document_orders,
    permuted_topics,
    restricted_orders,
)

LAYERS, EXPERTS, TOPICS, TOP_K = 12, 64, 20, 2
TOKENS, SAMPLED_TOKENS, TYPES = 120, 100, 4096
BOOTSTRAP = 200


def made_up_documents(documents: int, generator: np.random.Generator) -> DocumentCounts:
    """Counts of documents without a topic effect."""
    share = np.full(EXPERTS, 1 / EXPERTS)
    sizes = np.full((documents, LAYERS), TOKENS * TOP_K)
    counts = generator.multinomial(sizes, share).astype(np.int64)
    return DocumentCounts(
        ids=[f"document-{row:06d}" for row in range(documents)],
        topic_ids=np.arange(documents) % TOPICS,
        topics=tuple(f"topic {topic}" for topic in range(TOPICS)),
        layers=tuple(range(LAYERS)),
        top_k=TOP_K,
        counts=counts,
        tokens=np.full(documents, TOKENS),
        masked_counts=np.zeros_like(counts),
        masked_tokens=np.zeros(documents, dtype=np.int64),
    )


def made_up_sample(data: DocumentCounts, generator: np.random.Generator) -> TokenSample:
    """Whole documents token by token: a quarter of them, 500,000 tokens at full size."""
    rows = np.arange(0, len(data.ids), 4) if len(data.ids) > 4_000 else np.arange(len(data.ids))
    tokens = len(rows) * SAMPLED_TOKENS
    first = generator.integers(0, EXPERTS, (tokens, LAYERS, 1))
    token_ids, types = np.unique(
        np.minimum(generator.zipf(1.2, tokens), TYPES), return_inverse=True
    )
    other = (first + generator.integers(1, EXPERTS, first.shape)) % EXPERTS
    return TokenSample(
        rows=rows,
        topic_ids=data.topic_ids[rows],
        topics=data.topics,
        layers=data.layers,
        num_experts=EXPERTS,
        documents=np.repeat(np.arange(len(rows)), SAMPLED_TOKENS),
        positions=np.tile(np.arange(SAMPLED_TOKENS), len(rows)),
        types=types,
        token_ids=token_ids,
        experts=np.concatenate([first, other], axis=2),
    )


def made_up_pairs(generator: np.random.Generator) -> tuple[np.ndarray, int]:
    """Tokens that chose both of two experts, and each on the diagonal: (L, E, E), all tokens."""
    tokens = EXPERTS**2 * 9
    pairs = np.zeros((LAYERS, EXPERTS, EXPERTS), dtype=np.int64)
    popularity = generator.gamma(4.0, 1.0, (LAYERS, EXPERTS))
    for table, own in zip(pairs, popularity, strict=True):
        keys = np.log(own) + generator.gumbel(size=(tokens, EXPERTS))
        first, second = np.argsort(-keys, axis=1)[:, :2].T
        for one, other in ((first, second), (second, first), (first, first), (second, second)):
            np.add.at(table, (one, other), 1)
    return pairs, tokens


class Stopwatch:
    """Seconds by step, and processor seconds of all of them."""

    def __init__(self) -> None:
        self.parts: dict[str, float] = {}
        self.cpu_s = 0.0
        self._clock, self._cpu = time.monotonic(), time.process_time()

    def lap(self, name: str) -> None:
        """Ends a step."""
        now = time.monotonic()
        self.parts[name], self._clock = round(now - self._clock, 2), now
        self.cpu_s = time.process_time() - self._cpu


def measure(documents: int, permutations: int) -> Stopwatch:
    """Runs every statistic once."""
    generator = np.random.default_rng(0)
    data = made_up_documents(documents, generator)
    sample = made_up_sample(data, generator)
    flows = generator.integers(1, 9, (LAYERS - 1, EXPERTS, EXPERTS))
    pairs, tokens_of_pairs = made_up_pairs(generator)
    watch = Stopwatch()
    orders = document_orders(generator, documents, permutations)
    ids = data.ids
    weights = poisson_weights(ids, BOOTSTRAP, 0)
    watch.lap("draws")
    null = topic_null(data, permuted_topics(orders, data.topic_ids))
    watch.lap("E3 null")
    topic_information(data, null, weights)
    topic_expert_cells(data, weights, null.largest_cell)
    watch.lap("E2, E3")
    expert_load(data, weights)
    layer_balance(data, weights)
    watch.lap("E1")
    origins = {name: f"origin-{row // (4 * TOPICS)}-{row % TOPICS}" for row, name in enumerate(ids)}
    names = [origins[ids[row]] for row in sample.rows]
    beyond_vocabulary(sample, restricted_orders(orders, sample.rows), names)
    watch.lap("E4")
    origin_information(data, origins, orders)
    watch.lap("E3 by origin")
    topic_map(data, generator)
    document_points(data, generator)
    watch.lap("E5")
    kept = sample.rows
    read = classifier_input(data.counts[kept], data.topic_ids[kept], names, sample, generator)
    topic_classifier(read, permutations, generator)
    watch.lap("E6")
    counts = generator.integers(0, 9, (TYPES, LAYERS, EXPERTS))
    tokens = counts[:, 0].sum(axis=-1)
    form_information({"token": TypeCounts([""] * TYPES, tokens, counts)}, data.layers, generator)
    watch.lap("E7")
    coactivation_pairs(pairs, tokens_of_pairs, data.layers, TOP_K)
    layer_flow(flows, data.layers, generator)
    watch.lap("E8, E9")
    locality(sample)
    watch.lap("E10")
    years = [date(1900 + row // (4 * TOPICS) % 100, 1, 1) for row in range(documents)]
    dated = pd.DataFrame({"id": ids, "date": years})
    analyse_time(data, dated, origins, permutations, weights, generator)
    watch.lap("E15")
    return watch


def main() -> None:
    """Measures and prints a table and, last, JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="200 documents, 19 permutations")
    options = parser.parse_args()
    documents, permutations = (200, 19) if options.quick else (20_000, 999)
    watch = measure(documents, permutations)
    parts, cpu_s = watch.parts, round(watch.cpu_s, 1)
    table = Table("step", "seconds")
    for name, seconds in parts.items():
        table.add_row(name, f"{seconds:.2f}")
    Console().print(table)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    elapsed_s = round(sum(parts.values()), 1)
    result = {"elapsed_s": elapsed_s, "parts": parts, "cpu_s": cpu_s, "peak_mb": round(peak)}
    sizes = {"documents": documents, "permutations": permutations, "layers": LAYERS}
    print(json.dumps({**result, **sizes, "experts": EXPERTS, "topics": TOPICS}))
