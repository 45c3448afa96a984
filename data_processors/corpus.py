"""Stage `corpus`: a source's texts, cleaned, labelled with topics and split."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from configs.cli import main
from configs.errors import UserError
from configs.progress import progress_bar
from configs.schema import Config
from configs.stage import Stage, StageRun

from .cleaning import Cleaner
from .documents import SPLITS, Document, DocumentWriter, read_documents, shard_paths
from .sources.registry import SOURCES
from .splits import assign_splits
from .topics import TopicRules, order_topics, select_documents

SPOOL = ".spool.parquet"


def build_corpus(run: StageRun) -> Mapping[str, Any]:
    """Reads the source once into a spool, decides, and writes the splits from the spool.

    Memory holds a few numbers per document and the near-duplicate index, never the texts.
    """
    spool = run.output_dir / SPOOL
    cleaner = _collect(run.config, spool)
    kept = cleaner.kept
    names = order_topics(list(kept.topic_names), run.config.corpus.topics.include)
    place = np.array([names.index(name) for name in kept.topic_names], dtype=np.int64)
    topic = place[np.array(kept.topic, dtype=np.int64)]
    keep, dropped = select_documents(
        topic, run.config.corpus.topics, np.ones(len(topic), dtype=bool), run.config.seed
    )
    split = np.full(len(topic), -1, dtype=np.int8)
    split[keep] = assign_splits(
        topic[keep],
        np.array(kept.group, dtype=np.uint64)[keep],
        run.config.corpus.splits,
        names,
        run.config.seed,
    )
    removed = cleaner.tally.removed
    removed.update(dropped)
    removed["probe_surplus"] = int((split[keep] < 0).sum())
    _write_splits(run, spool, split, [names[index] for index in topic])
    spool.unlink()
    return {
        "documents": {name: int((split == s).sum()) for s, name in enumerate(SPLITS)},
        "topics": names,
        "documents_per_topic": {
            name: {t: int(((split == s) & (topic == i)).sum()) for i, t in enumerate(names)}
            for s, name in enumerate(SPLITS)
        },
        "removed": {reason: count for reason, count in removed.items() if count},
    }


def _collect(config: Config, spool: Path) -> Cleaner:
    """Streams the source through cleaning into the spool.

    Raises:
        UserError: nothing is left.
    """
    drawing, hashing = np.random.default_rng(config.seed).spawn(2)
    rules = TopicRules(config.corpus.topics)
    cleaner = Cleaner(config.corpus.clean, rules, hashing)
    reader = SOURCES[config.source.name]
    documents = reader.read(config.source, rules.wanted, drawing)
    with (
        progress_bar(f"reading {config.source.name}", None, "documents") as advance,
        DocumentWriter([spool]) as writer,
    ):
        for document in cleaner.clean(_counted(documents, advance)):
            writer.write(document)
    rules.check(read_to_end=True)
    if not len(cleaner.kept):
        raise _nothing_left(config, cleaner)
    return cleaner


def _counted(documents: Iterator[Document], advance: Any) -> Iterator[Document]:
    for document in documents:
        advance()
        yield document


def _nothing_left(config: Config, cleaner: Cleaner) -> UserError:
    tally = cleaner.tally
    if not tally.num_read:
        return UserError(f"source={config.source.name}: no documents there")
    if tally.removed["too_short"] == tally.num_read:
        return UserError(
            f"corpus.clean.min_chars={config.corpus.clean.min_chars}: all {tally.num_read} "
            f"documents are shorter (the longest has {tally.longest_too_short} characters)"
        )
    reasons = ", ".join(f"{count} {reason}" for reason, count in tally.removed.items() if count)
    return UserError(f"source={config.source.name}: no documents left after cleaning ({reasons})")


def _write_splits(run: StageRun, spool: Path, split: np.ndarray, topic: list[str]) -> None:
    per_shard = run.config.corpus.shard_documents
    writers = [
        DocumentWriter(
            shard_paths(run.output_dir, name, int((split == s).sum()), per_shard), per_shard
        )
        for s, name in enumerate(SPLITS)
    ]
    with writers[0], writers[1], writers[2], writers[3]:
        for row, document in enumerate(read_documents(spool)):
            if split[row] >= 0:
                writers[split[row]].write(document)


def source_fingerprint(config: Config) -> Mapping[str, str]:
    """Returns what decides the texts besides the config."""
    return SOURCES[config.source.name].fingerprint(config.source)


STAGE = Stage(
    name="corpus",
    summary="texts with topics, cleaned and split",
    output="corpus",
    inputs={},
    sections=("source", "corpus"),
    run=build_corpus,
    external=source_fingerprint,
    next_stage="mask",
)

if __name__ == "__main__":
    sys.exit(main([STAGE], sys.argv[1:], "moescope corpus"))
