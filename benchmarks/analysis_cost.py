"""How long the statistics of a large report take.

    python benchmarks/analysis_cost.py [--quick | --large]

12 layers x 64 experts x 20 topics x 20,000 documents, 999 permutations, a sample of 500,000 tokens;
--quick: a hundredth of the documents and 19 permutations; --large: 48 layers x 128 experts x 30
topics x 50,000 documents, the tests of topics, load and map alone, which read one layer at a time.
Last line: JSON with `elapsed_s` (the sum of `parts`), `parts` (seconds by step), `cpu_s` (processor
time, which other programs on the machine hardly change), `peak_mb`, the sizes, and `large` (whether
they are).
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
from moescope.analysis.chapters.topics.information import topic_information, topic_tests
from moescope.analysis.data.documents import DocumentCounts
from moescope.analysis.data.sample import TokenSample
from moescope.analysis.data.token_types import TypeCounts
from moescope.analysis.statistics.bootstrap import poisson_weights

LAYERS, EXPERTS, TOPICS, TOP_K = 12, 64, 20, 2
LARGE_LAYERS, LARGE_EXPERTS, LARGE_TOPICS, LARGE_DOCUMENTS = 48, 128, 30, 50_000
TOKENS, SAMPLED_TOKENS, TYPES = 120, 100, 4096
BOOTSTRAP = 200


def made_up_documents(
    documents: int,
    generator: np.random.Generator,
    layers: int = LAYERS,
    experts: int = EXPERTS,
    topics: int = TOPICS,
) -> DocumentCounts:
    """Counts of documents without a topic effect, four to a group."""
    share, sizes = np.full(experts, 1 / experts), np.full(documents, TOKENS * TOP_K)
    counts = np.empty((documents, layers, experts), np.int32)
    for layer in range(layers):
        counts[:, layer] = generator.multinomial(sizes, share)
    return DocumentCounts(
        ids=[f"document-{row:06d}" for row in range(documents)],
        topic_ids=np.arange(documents) % topics,
        topics=tuple(f"topic {topic}" for topic in range(topics)),
        layers=tuple(range(layers)),
        top_k=TOP_K,
        counts=counts,
        tokens=np.full(documents, TOKENS),
        masked_counts=np.zeros((documents, 0, 0), np.int32),
        masked_tokens=np.zeros(documents, dtype=np.int64),
        groups=[f"group-{row // (4 * topics)}-{row % topics}" for row in range(documents)],
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
    weights = poisson_weights(data.group_names, BOOTSTRAP, 0)
    watch.lap("draws")
    measure_topics(data, weights, permutations, generator, watch)
    ids, names = data.ids, [data.group_names[row] for row in sample.rows]
    beyond_vocabulary(sample, names, permutations, generator)
    watch.lap("E4")
    document_points(data, generator)
    watch.lap("documents map")
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
    origins = dict(zip(ids, data.group_names, strict=True))
    analyse_time(data, dated, origins, permutations, weights, generator)
    watch.lap("E15")
    return watch


def measure_topics(
    data: DocumentCounts,
    weights: np.ndarray,
    permutations: int,
    generator: np.random.Generator,
    watch: Stopwatch,
) -> None:
    """What reads the documents of all layers: topics, load and map."""
    tests = topic_tests(data, permutations, generator)
    watch.lap("E2, E3: permutations")
    topic_information(data, tests, weights)
    watch.lap("E3: intervals")
    topic_expert_cells(data, tests)
    watch.lap("E2: cells")
    expert_load(data, weights)
    layer_balance(data, weights)
    watch.lap("E1")
    topic_map(data, generator)
    watch.lap("E5")


def measure_large(documents: int, permutations: int) -> Stopwatch:
    """The same at the size of a large model."""
    generator = np.random.default_rng(0)
    sizes = LARGE_LAYERS, LARGE_EXPERTS, LARGE_TOPICS
    data = made_up_documents(documents, generator, *sizes)
    watch = Stopwatch()
    weights = poisson_weights(data.group_names, BOOTSTRAP, 0)
    measure_topics(data, weights, permutations, generator, watch)
    return watch


def main() -> None:
    """Measures and prints a table and, last, JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few documents, 19 permutations")
    parser.add_argument("--large", action="store_true", help="48 x 128 x 30 x 50,000")
    options = parser.parse_args()
    documents = LARGE_DOCUMENTS if options.large else 20_000
    permutations = 19 if options.quick else 999
    documents = documents // 100 if options.quick else documents
    watch = (measure_large if options.large else measure)(documents, permutations)
    parts, cpu_s = watch.parts, round(watch.cpu_s, 1)
    table = Table("step", "seconds")
    for name, seconds in parts.items():
        table.add_row(name, f"{seconds:.2f}")
    Console().print(table)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    elapsed_s = round(sum(parts.values()), 1)
    result = {"elapsed_s": elapsed_s, "parts": parts, "cpu_s": cpu_s, "peak_mb": round(peak)}
    layers, experts, topics = LAYERS, EXPERTS, TOPICS
    if options.large:
        layers, experts, topics = LARGE_LAYERS, LARGE_EXPERTS, LARGE_TOPICS
    sizes = {"documents": documents, "permutations": permutations, "layers": layers}
    sizes |= {"experts": experts, "topics": topics}
    print(json.dumps({**result, **sizes, "large": options.large}))


if __name__ == "__main__":
    main()
