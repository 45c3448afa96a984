"""Splits: deterministic, stratified by topic, and never through a group of documents."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..configs.errors import UserError
from ..configs.schema_corpus import Splits
from ..configs.splitmix import scatter_bits
from .documents import SPLITS

TRAIN, VALIDATION, TEST, PROBE = range(4)
DROPPED = -1
PROBE_GROUPS = 10  # first choice: no group gives more than a tenth of a topic's probe


@dataclass
class _Groups:
    """Documents by group: `cells[g]` lists (topic, number of documents) of group g."""

    cells: list[list[tuple[int, int]]]
    order: list[int]  # by a hash of (group, seed)
    topic_sizes: np.ndarray  # (topics,) documents
    split: np.ndarray = field(init=False)  # (groups,) split of each, TRAIN at first
    free: np.ndarray = field(init=False)  # (topics,) groups still in train

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.split = np.full(len(self.cells), TRAIN, dtype=np.int8)
        topics = [topic for cells in self.cells for topic, _ in cells]
        self.free = np.bincount(topics, minlength=len(self.topic_sizes))

    def take(self, group: int, split: int) -> None:
        self.split[group] = split
        for topic, _ in self.cells[group]:
            self.free[topic] -= 1


def assign_splits(
    topic: np.ndarray,
    group: np.ndarray,
    config: Splits,
    topic_names: Sequence[str],
    seed: int,
) -> np.ndarray:
    """Assigns every document to a split.

    Whole groups are taken in the order of a hash of (group, seed): first for the probe, which
    gets the same number of documents in every topic (surplus documents of its largest groups
    are dropped), then validation and test up to their share of each topic; the rest trains.

    Args:
        topic: topic index of each document (D,).
        group: 64-bit hash of each document's group (D,).
        config: the shares.
        topic_names: for messages.
        seed: another seed, other splits.

    Returns:
        (D,) int8: an index into `documents.SPLITS`, or −1 for a surplus probe document.

    Raises:
        UserError: a topic has too few documents or groups to be in every split.
    """
    groups, member = _by_group(topic, group, len(topic_names), seed)
    later = 2 + (config.test > 0)  # splits that need a group after the probe took its own
    _check_sizes(groups, config, topic_names, later + 1)
    wanted = min(config.probe_documents, int(groups.topic_sizes.min() * config.probe_share))
    probe_size = _fill_probe(groups, max(wanted, 1), later)
    for split, share in ((VALIDATION, config.validation), (TEST, config.test)):
        if share > 0:
            later -= 1
            _fill(groups, np.maximum(1, np.rint(share * groups.topic_sizes)), split, later)
    split = groups.split[member]
    for index in range(len(topic_names)):
        for number in range(len(SPLITS)):
            if not np.any((topic == index) & (split == number)) and (number != TEST or config.test):
                raise _too_small(topic_names[index], groups, index, config)
        rows = np.flatnonzero((topic == index) & (split == PROBE))
        sizes = np.bincount(member[rows], minlength=len(groups.cells))[member[rows]]
        largest_first = rows[np.lexsort((scatter_bits(rows.astype(np.uint64)), -sizes))]
        split[largest_first[: max(0, len(rows) - probe_size)]] = DROPPED
    return split


def _by_group(
    topic: np.ndarray, group: np.ndarray, num_topics: int, seed: int
) -> tuple[_Groups, np.ndarray]:
    keys, member = np.unique(group, return_inverse=True)
    cells: list[list[tuple[int, int]]] = [[] for _ in keys]
    pairs, sizes = np.unique(member * num_topics + topic, return_counts=True)
    for pair, size in zip(pairs.tolist(), sizes.tolist(), strict=True):
        cells[pair // num_topics].append((pair % num_topics, size))
    salt = scatter_bits(np.array([seed], dtype=np.uint64))
    order = np.argsort(scatter_bits(keys.astype(np.uint64) ^ salt))
    topic_sizes = np.bincount(topic, minlength=num_topics)
    return _Groups(cells, order.tolist(), topic_sizes), member


def _check_sizes(
    groups: _Groups, config: Splits, topic_names: Sequence[str], num_splits: int
) -> None:
    least = max(num_splits, int(np.ceil(1 / config.probe_share)))
    for index, size in enumerate(groups.topic_sizes):
        if size < least or groups.free[index] < num_splits:
            raise _too_small(topic_names[index], groups, index, config)


def _too_small(name: str, groups: _Groups, index: int, config: Splits) -> UserError:
    num_splits = 3 + (config.test > 0)
    least = max(num_splits, int(np.ceil(1 / config.probe_share)))
    num_groups = sum(any(topic == index for topic, _ in cells) for cells in groups.cells)
    return UserError(
        f"corpus.splits: topic {name!r} has {groups.topic_sizes[index]} document(s) of "
        f"{num_groups} group(s) after cleaning, too few for {num_splits} splits; a topic needs "
        f"at least {least} documents of at least {num_splits} groups: add some, or leave small "
        f"topics out with corpus.topics.min_groups={num_splits}"
    )


def _fill_probe(groups: _Groups, size: int, later: int) -> int:
    """Takes groups until every topic has `size` probe documents, or the most that all reach."""
    while True:
        groups.reset()
        taken = _fill(groups, np.full(len(groups.topic_sizes), size), PROBE, later, complete=True)
        reached = int(taken.min())
        if reached >= size or reached == 0:
            return size
        size = reached


def _fill(
    groups: _Groups, target: np.ndarray, split: int, later: int, *, complete: bool = False
) -> np.ndarray:
    """Moves groups from train to a split, small ones first, up to `target` documents per topic.

    Args:
        groups: changed in place.
        target: documents wanted (topics,).
        split: where they go.
        later: groups of each topic that must stay free for other splits.
        complete: go on with groups that overshoot, the least first, until all targets are met;
            otherwise only for a topic that has nothing.

    Returns:
        Documents moved (topics,).
    """
    need = target.astype(np.int64).tolist()
    for limit in (np.maximum(1, target // PROBE_GROUPS), target):
        for group in groups.order:
            cells = groups.cells[group]
            if groups.split[group] == TRAIN and all(
                size <= need[topic] and size <= limit[topic] and groups.free[topic] > later
                for topic, size in cells
            ):
                groups.take(group, split)
                for topic, size in cells:
                    need[topic] -= size
            if not any(need):
                break
    for topic in range(len(need)):
        _overshoot(groups, target, need, topic, split, later, complete=complete)
    return target - np.array(need)


def _overshoot(
    groups: _Groups,
    target: np.ndarray,
    need: list[int],
    wanted: int,
    split: int,
    later: int,
    *,
    complete: bool,
) -> None:
    """Takes groups of one topic that do not fit, those that overshoot least first."""
    while need[wanted] > 0 and (complete or need[wanted] == target[wanted]):
        choices = [
            (sum(max(0, size - max(0, need[topic])) for topic, size in groups.cells[group]), place)
            for place, group in enumerate(groups.order)
            if groups.split[group] == TRAIN
            and any(topic == wanted for topic, _ in groups.cells[group])
            and all(groups.free[topic] > later for topic, _ in groups.cells[group])
        ]
        if not choices:
            return
        group = groups.order[min(choices)[1]]
        groups.take(group, split)
        for topic, size in groups.cells[group]:
            need[topic] -= size
