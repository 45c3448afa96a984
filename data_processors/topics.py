"""Which topics there are: chosen, renamed, capped and balanced."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from configs.errors import UserError, nearest
from configs.schema_corpus import Topics

from .words import mix

ALL = "all"  # the one topic of a corpus without labels


class TopicRules:
    """Renames, chooses and caps topics while documents stream by."""

    def __init__(self, config: Topics) -> None:
        self._config = config
        self._derive = config.derive != "none"
        self._include = set(config.include)
        self._counts: Counter[str | None] = Counter()
        self._seen: set[str] = set()  # names as the source gives them
        self.unlabelled_allowed = self._derive

    def rename(self, topic: str | None) -> str | None:
        """Returns the topic's name in the corpus (None stays None)."""
        if topic is None:
            return None
        self._seen.add(topic)
        return self._config.rename.get(topic, topic)

    def included(self, topic: str | None) -> bool:
        """Says whether the config keeps a (renamed) topic."""
        return self._derive or not self._include or topic in self._include

    def has_room(self, topic: str | None) -> bool:
        """Says whether a (renamed) topic is below its cap."""
        cap = self._config.max_documents
        return self._derive or cap is None or self._counts[topic] < cap

    def count(self, topic: str | None) -> None:
        """Notes that a document of a (renamed) topic was kept."""
        self._counts[topic] += 1

    def wanted(self, topic: str) -> bool:
        """Tells a source whether to go on with one of its own topics."""
        name = self.rename(topic)
        return self.included(name) and self.has_room(name)

    def check(self, *, read_to_end: bool) -> None:
        """Refuses names in the config that no document has.

        Raises:
            UserError: names the topic and the nearest that exists.
        """
        if self._derive:
            return
        for old in self._config.rename if read_to_end else ():
            if old not in self._seen:
                raise self._unknown("corpus.topics.rename", old, self._seen)
        names = {self._config.rename.get(topic, topic) for topic in self._seen}
        for topic in self._config.include:
            if not self._counts[topic]:
                raise self._unknown("corpus.topics.include", topic, names)

    def _unknown(self, key: str, topic: str, names: set[str]) -> UserError:
        if topic in names:
            return UserError(f"{key}: topic {topic!r} has no documents left after cleaning")
        listed = ", ".join(sorted(names)[:20])
        return UserError(
            f"{key}: no document has topic {topic!r}{nearest(topic, names)}; there are: {listed}"
        )


def select_documents(
    topic: np.ndarray, config: Topics, keep: np.ndarray, seed: int
) -> tuple[np.ndarray, dict[str, int]]:
    """Caps and balances topics by dropping documents in the order of a hash of their row.

    Args:
        topic: topic index of every document (D,).
        config: the cap and whether to balance.
        keep: documents still in (D,) bool.
        seed: of the hash.

    Returns:
        The documents that stay (D,) bool, and how many were dropped for which reason.
    """
    keep = keep.copy()
    removed = {}
    for reason, cap in (("over_topic_cap", config.max_documents), ("balance", None)):
        counts = np.bincount(topic[keep])
        if reason == "balance" and config.balance:
            cap = int(counts[counts > 0].min())
        if cap is None:
            continue
        before = keep.sum()
        order = np.argsort(mix(np.arange(len(topic), dtype=np.uint64) + np.uint64(seed << 32)))
        for index in np.flatnonzero(counts > cap):
            members = order[(topic[order] == index) & keep[order]]
            keep[members[cap:]] = False
        removed[reason] = int(before - keep.sum())
    return keep, removed


def order_topics(names: Sequence[str], include: Sequence[str]) -> list[str]:
    """Orders topics as `include` lists them, else by name; a topic's id is its place here."""
    return [name for name in include if name in names] if include else sorted(names)
