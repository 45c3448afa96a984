"""Decides in one pass over the source, in its order, which documents are kept."""

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice, repeat

import numpy as np

from ..configs.schema_corpus import Cleaning
from .documents import Document, valid_text
from .near_duplicates import NearDuplicateIndex, Signature
from .topics import TopicRules
from .words import hash_words

BATCH_DOCUMENTS = 512


@dataclass
class Kept:
    """What stays in memory of every kept document, by its row number; texts do not.

    Attributes:
        topic: index into `topic_names`.
        group: 64-bit hash of the group.
        source: index into `source_names`.
        characters, words: lengths.
    """

    topic_names: dict[str, int] = field(default_factory=dict)
    source_names: dict[str, int] = field(default_factory=dict)
    topic: array = field(default_factory=lambda: array("i"))
    group: array = field(default_factory=lambda: array("Q"))
    source: array = field(default_factory=lambda: array("i"))
    characters: array = field(default_factory=lambda: array("I"))
    words: array = field(default_factory=lambda: array("I"))

    def add(self, document: Document, num_words: int) -> None:
        """Records a document under the next row number."""
        topics, sources = self.topic_names, self.source_names
        self.topic.append(topics.setdefault(document.topic or "", len(topics)))
        self.source.append(sources.setdefault(document.source, len(sources)))
        self.group.append(hash_text(document.group))
        self.characters.append(len(document.text))
        self.words.append(num_words)

    def __len__(self) -> int:
        return len(self.topic)


@dataclass
class Duplicate:
    """A document that repeats an earlier one.

    Attributes:
        original: row of the kept document that it repeats.
        topic: its own topic.
        row: its own row; None if it was dropped.
    """

    original: int
    topic: str | None
    row: int | None


@dataclass
class Tally:
    """What happened to the documents that were read."""

    num_read: int = 0
    num_cut: int = 0
    longest_too_short: int = 0
    removed: Counter[str] = field(default_factory=Counter)
    exact: list[Duplicate] = field(default_factory=list)
    near: list[Duplicate] = field(default_factory=list)


class Cleaner:
    """Filters documents by topic rules, length and repetition; of repeats the first stays.

    Exact repeats are noted for the audit even if the config keeps them. Near ones are searched for
    only if the config drops them, since the index takes memory.
    """

    def __init__(self, config: Cleaning, rules: TopicRules, generator: np.random.Generator) -> None:
        self._config = config
        self._rules = rules
        self._index = (
            NearDuplicateIndex(config.near_threshold, generator) if config.near_duplicates else None
        )
        self._rows_by_text: dict[bytes, int] = {}
        self.kept = Kept()
        self.tally = Tally()

    def clean(self, documents: Iterable[Document]) -> Iterator[Document]:
        """Yields the documents to keep; their order is their row number."""
        stream = self._long_enough(documents)
        while batch := list(islice(stream, BATCH_DOCUMENTS)):
            hashes, offsets = hash_words([document.text for document in batch])
            signatures = self._index.sign(hashes, offsets) if self._index else repeat(None)
            num_words = np.diff(offsets).tolist()
            for document, signature, words in zip(batch, signatures, num_words, strict=False):
                if not self._rules.has_room(document.topic):
                    self.tally.removed["over_topic_cap"] += 1
                elif not self._is_repeat(document, signature):
                    self._rules.count(document.topic)
                    self.kept.add(document, words)
                    yield document

    def _long_enough(self, documents: Iterable[Document]) -> Iterator[Document]:
        removed = self.tally.removed
        for document in documents:
            self.tally.num_read += 1
            topic = self._rules.rename(document.topic)
            if topic is None:
                removed["no_topic"] += 1
                continue
            if not self._rules.included(topic):
                removed["topic_not_included"] += 1
                continue
            text = valid_text(document.text)
            if len(text) < self._config.min_chars:
                removed["too_short"] += 1
                self.tally.longest_too_short = max(self.tally.longest_too_short, len(text))
                continue
            if len(text) > self._config.max_chars:
                text = cut_at_space(text, self._config.max_chars)
                self.tally.num_cut += 1
            yield replace(document, text=text, topic=topic)

    def _is_repeat(self, document: Document, signature: Signature | None) -> bool:
        """Says whether to drop a document as a repeat; notes it either way."""
        row, config = len(self.kept), self._config
        digest = hashlib.blake2b(document.text.encode(), digest_size=16).digest()
        original = self._rows_by_text.setdefault(digest, row)
        if original != row:
            drop = config.exact_duplicates or config.near_duplicates
            self.tally.exact.append(Duplicate(original, document.topic, None if drop else row))
            self.tally.removed["exact_duplicate"] += drop
            return drop
        if self._index is None or signature is None:
            return False
        near = self._index.find(signature)
        if near is None:
            self._index.add(signature, row)
            return False
        self.tally.near.append(Duplicate(near, document.topic, None))
        self.tally.removed["near_duplicate"] += 1
        del self._rows_by_text[digest]  # only kept rows may be originals
        return True


def cut_at_space(text: str, limit: int) -> str:
    """Cuts to at most `limit` characters after a whole word, inside a word only if it is alone."""
    if len(text) <= limit:
        return text
    head = text[: limit + 1]
    space = max(head.rfind(" "), head.rfind("\n"))
    return (head[:space] if space > 0 else head[:limit]).rstrip()


def hash_text(text: str) -> int:
    """Hashes a name to 64 bits, the same in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
