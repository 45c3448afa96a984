"""Units of a test: the documents that a group has in one topic.

What an author, a module or an address puts into its documents beyond their topic makes them one
observation. A permutation therefore moves whole groups, and never a document out of its group.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

MIN_GROUPS_FOR_P = 10  # per topic; below, no p-value is given


@dataclass(frozen=True)
class Units:
    """Documents gathered by group and topic.

    Attributes:
        of_documents: (D) unit of each document.
        topics: (U) topic of each unit.
        groups: (U) group of each unit, from 0; a group that spans topics has several units.
        num_topics: T.
    """

    of_documents: np.ndarray
    topics: np.ndarray
    groups: np.ndarray
    num_topics: int

    @property
    def per_topic(self) -> np.ndarray:
        """Groups of each topic (T)."""
        return np.bincount(self.topics, minlength=self.num_topics)

    @property
    def num_groups(self) -> int:
        """Groups in all."""
        return int(self.groups.max(initial=-1)) + 1

    @property
    def suffice(self) -> bool:
        """Whether a p-value can be given: two topics, and ten groups in each."""
        return self.num_topics > 1 and int(self.per_topic.min()) >= MIN_GROUPS_FOR_P

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Adds values of documents (D, …) by unit: (U, …), int64 or float64."""
        wide = np.int64 if np.issubdtype(values.dtype, np.integer) else np.float64
        order = np.argsort(self.of_documents, kind="stable")
        starts = np.searchsorted(self.of_documents[order], np.arange(len(self.topics)))
        added: np.ndarray = np.add.reduceat(values[order], starts, axis=0, dtype=wide)
        return added


def group_units(groups: Sequence[Any], topic_ids: np.ndarray, num_topics: int) -> Units:
    """Numbers the units in the order of their first documents.

    Args:
        groups: of each document (D); a document without one is named by itself.
        topic_ids: (D) from 0.
        num_topics: T.
    """
    numbers = pd.factorize(np.asarray(groups, dtype=object))[0].astype(np.int64)
    of_documents, keys = pd.factorize(numbers * num_topics + topic_ids)
    return Units(of_documents, keys % num_topics, keys // num_topics, num_topics)


def permuted_labels(units: Units, permutations: int, generator: np.random.Generator) -> np.ndarray:
    """Topics of the units as they are and under P permutations: (P + 1, U), int32.

    Groups that have equally many units swap their topics as sets, and the topics of a group are
    shuffled among its units. Where topics do nothing and groups are drawn alike, every such
    arrangement is as likely as the first row, which is the corpus itself.
    """
    sizes = np.bincount(units.groups)[units.groups]
    labels = np.tile(units.topics.astype(np.int32), (permutations + 1, 1))
    for size in np.unique(sizes):
        own = np.flatnonzero(sizes == size)
        rows = own[np.argsort(units.groups[own], kind="stable")].reshape(-1, size)
        orders = np.broadcast_to(np.arange(len(rows)), (permutations, len(rows)))
        swapped = units.topics[rows][generator.permuted(orders, axis=1)]  # (P, groups, size)
        if size > 1:
            swapped = generator.permuted(swapped, axis=2)
        labels[1:, rows.ravel()] = swapped.reshape(permutations, -1)
    return labels
