"""Chooses, renames, caps and balances topics."""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from ..configs.errors import UserError, nearest
from ..configs.schema_corpus import Topics
from ..configs.splitmix import scatter_bits

UNLABELLED = "all"  # the one topic of a source without labels, until topics are derived


class TopicRules:
    """Renames, chooses and caps topics while documents stream by."""

    def __init__(self, config: Topics) -> None:
        self._config = config
        self._derive = config.derive != "none"
        self._include = set(config.include)
        self._counts: Counter[str | None] = Counter()
        self._seen: set[str] = set()  # names as the source gives them

    def rename(self, topic: str | None) -> str | None:
        """Returns the topic's name in the corpus; None where it needs a label and has none."""
        if self._derive:
            return UNLABELLED
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

    def names_missing(self) -> bool:
        """Says whether the config includes a topic that got no document."""
        return not self._derive and not all(self._counts[name] for name in self._config.include)

    def check(self) -> None:
        """Refuses names in the config that no document has.

        Raises:
            UserError: names the topic and the nearest that exists.
        """
        if self._derive:
            return
        for old in self._config.rename:
            if old not in self._seen:
                raise self._unknown("corpus.topics.rename", old, self._seen)
        names = {self._config.rename.get(topic, topic) for topic in self._seen}
        for topic in self._config.include:
            if not self._counts[topic]:
                raise self._unknown("corpus.topics.include", topic, names)

    @staticmethod
    def _unknown(key: str, topic: str, names: set[str]) -> UserError:
        if topic in names:
            return UserError(f"{key}: topic {topic!r} has no documents left after cleaning")
        return _unknown_topic(key, topic, names)


def _unknown_topic(key: str, topic: str, names: Iterable[str]) -> UserError:
    listed = ", ".join(sorted(names)[:20]) or "none"
    return UserError(
        f"{key}: no document has topic {topic!r}{nearest(topic, names)}; there are: {listed}"
    )


def label_given(
    names: Sequence[str], topic: np.ndarray, config: Topics
) -> tuple[list[str], np.ndarray]:
    """Orders topics as `include` lists them, else by name; a topic's id is its place there.

    Args:
        names: in the order of appearance.
        topic: index into `names` of every document (D,).
        config: what to include.

    Returns:
        The names in order and the topic of every document (D,).
    """
    ordered = [name for name in config.include if name in names] or sorted(names)
    place = np.array([ordered.index(name) for name in names], dtype=np.int64)
    return ordered, place[topic]


def label_derived(
    names: Sequence[str], topic: np.ndarray, config: Topics
) -> tuple[list[str], np.ndarray]:
    """Renames, merges and chooses derived topics; −1 for documents of none (D,).

    Raises:
        UserError: the config names a topic that was not derived.
    """
    for old in config.rename:
        if old not in names:
            raise _unknown_topic("corpus.topics.rename", old, names)
    renamed = [config.rename.get(name, name) for name in names]
    for name in config.include:
        if name not in renamed:
            raise _unknown_topic("corpus.topics.include", name, renamed)
    ordered = list(config.include) or sorted(set(renamed))
    place = [ordered.index(name) if name in ordered else -1 for name in renamed]
    return ordered, np.array([*place, -1], dtype=np.int64)[topic]


def drop_small_topics(
    names: Sequence[str], topic: np.ndarray, group: np.ndarray, min_groups: int
) -> tuple[list[str], np.ndarray, int]:
    """Leaves out topics whose documents come from fewer than `min_groups` groups.

    Returns:
        The names that stay, the topic of every document among them (D,), −1 for none, and how many
        documents went.

    Raises:
        UserError: no topic stays.
    """
    groups = [len(np.unique(group[topic == index])) for index in range(len(names))]
    stay = [index for index, count in enumerate(groups) if count >= min_groups]
    if not stay:
        raise UserError(
            f"corpus.topics.min_groups={min_groups}: no topic has documents of so many groups "
            f"(most: {max(groups)})"
        )
    place = np.full(len(names) + 1, -1, dtype=np.int64)
    place[stay] = np.arange(len(stay))
    small = int(((topic >= 0) & (place[topic] < 0)).sum())
    return [names[index] for index in stay], place[topic], small


def select_documents(
    topic: np.ndarray, config: Topics, seed: int
) -> tuple[np.ndarray, dict[str, int]]:
    """Caps and balances topics by dropping documents in the order of a hash of their row.

    Args:
        topic: topic index of every document (D,), −1 for none.
        config: the cap, and whether to balance.
        seed: of the hash.

    Returns:
        The documents that stay (D,) bool, and how many were dropped for which reason.
    """
    keep = topic >= 0
    removed = {}
    order = np.argsort(scatter_bits(np.arange(len(topic), dtype=np.uint64) + np.uint64(seed << 32)))
    for reason in ("over_topic_cap", "balance"):
        counts = np.bincount(topic[keep])
        cap = config.max_documents
        if reason == "balance":
            cap = int(counts[counts > 0].min()) if config.balance else None
        before = int(keep.sum())
        for index in np.flatnonzero(counts > (counts.max() if cap is None else cap)):
            members = order[(topic[order] == index) & keep[order]]
            keep[members[cap:]] = False
        removed[reason] = before - int(keep.sum())
    return keep, removed
