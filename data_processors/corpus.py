"""Stage `corpus`: a source's texts, cleaned, labelled with topics and split."""

import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..configs.cli import main
from ..configs.errors import UserError
from ..configs.progress import Advance, console, progress_bar
from ..configs.schema import Config
from ..configs.stage import StageRun
from ..configs.stages import CORPUS
from ..configs.whole_files import write_json
from .audit import TextCounts, audit_corpus
from .audit_warnings import list_warnings
from .cleaning import Cleaner
from .derived_topics import derive_topics
from .documents import SPLITS, Document, DocumentWriter, read_documents, shard_paths
from .sources.registry import SOURCES
from .splits import DROPPED, assign_splits
from .topics import TopicRules, drop_small_topics, label_derived, label_given, select_documents

KEPT_FILE = ".kept.parquet"
AUDIT = "audit.json"
BATCH_DOCUMENTS = 512


def build_corpus(run: StageRun) -> Mapping[str, Any]:
    """Reads the source once, keeps the clean documents in one file, and writes the splits from it.

    Memory holds a few numbers per document and the near-duplicate index, never the texts.
    """
    kept_file = run.output_dir / KEPT_FILE
    cleaner = _collect(run.config, kept_file)
    topics, topic = _label(run.config, cleaner, kept_file)
    split = _decide(run.config, cleaner, topics, topic)
    counts = _write_splits(run, kept_file, topics, topic, split)
    kept_file.unlink()
    audit = audit_corpus(topics, topic, split, cleaner.kept, cleaner.tally, counts)
    searched = run.config.corpus.clean.near_duplicates
    warnings = list_warnings(audit, near_searched=searched)
    for warning in warnings:
        console.print(f"corpus: {warning.text}", markup=False, style="yellow", soft_wrap=True)
    audit["warnings"] = [asdict(warning) for warning in warnings]
    write_json(run.output_dir / AUDIT, audit)
    return {
        "documents": {name: sum(audit["documents"][name].values()) for name in SPLITS},
        "topics": topics,
        "documents_per_topic": audit["documents"],
        "removed": audit["removed"],
    }


def _collect(config: Config, kept_file: Path) -> Cleaner:
    """Streams the source through cleaning into `kept_file`.

    Raises:
        UserError: nothing is left, or a topic that the config names is not there.
    """
    drawing, hashing = np.random.default_rng(config.seed).spawn(2)
    rules = TopicRules(config.corpus.topics)
    cleaner = Cleaner(config.corpus.clean, rules, hashing)
    documents = SOURCES[config.source.name].read(config.source, rules.wanted, drawing)
    with (
        progress_bar(f"reading {config.source.name}", None, "documents") as advance,
        closing(_counted(documents, advance)) as counted,
        DocumentWriter([kept_file]) as writer,
    ):
        for document in cleaner.clean(counted):
            writer.write(document)
    if not len(cleaner.kept) and not rules.names_missing():
        raise _nothing_left(config, cleaner)
    rules.check()
    return cleaner


def _counted(documents: Iterator[Document], advance: Advance) -> Generator[Document, None, None]:
    """Counts documents as they pass; closing it ends the source, also its reading processes."""
    try:
        for document in documents:
            advance()
            yield document
    finally:
        if isinstance(documents, Generator):
            documents.close()


def _nothing_left(config: Config, cleaner: Cleaner) -> UserError:
    tally, source = cleaner.tally, config.source
    place = getattr(source, "path", None) or getattr(source, "dataset", None) or source.name
    if not tally.num_read:
        return UserError(f"{place}: no documents there")
    if tally.removed["too_short"] == tally.num_read:
        return UserError(
            f"corpus.clean.min_chars={config.corpus.clean.min_chars}: all {tally.num_read} "
            f"documents of {place} are shorter (the longest has {tally.longest_too_short} "
            "characters); set a lower minimum"
        )
    reasons = ", ".join(f"{count} {reason}" for reason, count in tally.removed.items() if count)
    return UserError(f"{place}: no documents left after cleaning ({reasons})")


def _label(config: Config, cleaner: Cleaner, kept_file: Path) -> tuple[list[str], np.ndarray]:
    """Returns the topics' names in order, and the topic of every row (D,), −1 for none."""
    kept, rules = cleaner.kept, config.corpus.topics
    if rules.derive == "none":
        names, topic = label_given(list(kept.topic_names), np.array(kept.topic), rules)
    else:
        derived, names = derive_topics(
            lambda: (document.text for document in read_documents(kept_file)),
            len(kept),
            rules,
            config.seed,
        )
        names, topic = label_derived(names, derived, rules)
    group = np.array(kept.group, dtype=np.uint64)
    cleaner.tally.removed["no_topic"] += int((topic < 0).sum())
    names, topic, small = drop_small_topics(names, topic, group, rules.min_groups)
    cleaner.tally.removed["small_topic"] += small
    return names, topic


def _decide(config: Config, cleaner: Cleaner, topics: list[str], topic: np.ndarray) -> np.ndarray:
    """Returns the split of every row (D,), −1 where dropped; notes why."""
    corpus, seed = config.corpus, config.seed
    keep, removed = select_documents(topic, corpus.topics, seed)
    split = np.full(len(topic), DROPPED, dtype=np.int8)
    group = np.array(cleaner.kept.group, dtype=np.uint64)
    split[keep] = assign_splits(topic[keep], group[keep], corpus.splits, topics, seed)
    cleaner.tally.removed.update(removed)
    cleaner.tally.removed["probe_surplus"] += int((split[keep] == DROPPED).sum())
    return split


def _write_splits(
    run: StageRun, kept_file: Path, topics: list[str], topic: np.ndarray, split: np.ndarray
) -> TextCounts:
    """Copies the kept documents into the splits' shards and counts the texts on the way."""
    counts = TextCounts(len(topics))
    per_shard = run.config.corpus.shard_documents
    with ExitStack() as stack:
        writers = [
            stack.enter_context(
                DocumentWriter(
                    shard_paths(run.output_dir, name, int((split == s).sum()), per_shard), per_shard
                )
            )
            for s, name in enumerate(SPLITS)
        ]
        advance = stack.enter_context(progress_bar("writing splits", len(split), "documents"))
        rows = ((n, d) for n, d in enumerate(read_documents(kept_file)) if split[n] != DROPPED)
        while batch := list(islice(rows, BATCH_DOCUMENTS)):
            for row, document in batch:
                writers[split[row]].write(document.with_topic(topics[topic[row]]))
            numbers = np.array([row for row, _ in batch])
            counts.add(topic[numbers], [document.text for _, document in batch])
            advance(len(batch))
    return counts


def source_fingerprint(config: Config) -> Mapping[str, str]:
    """Returns what decides the texts besides the config."""
    return SOURCES[config.source.name].fingerprint(config.source)


if __name__ == "__main__":
    sys.exit(main([CORPUS], sys.argv[1:], "moescope corpus"))
