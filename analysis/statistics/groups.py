"""Documents of one group (a module, an address, an author) as one unit of a test."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from .information import information_bits
from .permutations import MIN_DOCUMENTS_FOR_P, permuted_sums, topic_sums

FEWEST_PER_TOPIC = 2  # with one origin, topic and origin are the same thing


def origin_units(origins: Sequence[Any], labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers the origins, apart where their documents differ in label.

    Args:
        origins: of each document (D).
        labels: topic or date of each document (D).

    Returns:
        (D) number of each document's unit, and (U) ascending row of each unit's first document.
    """
    units, _ = pd.factorize(pd.MultiIndex.from_arrays([list(origins), labels]))
    return units, np.unique(units, return_index=True)[1]


def origins_suffice(topics: np.ndarray) -> bool:
    """Whether topics (U) can be shuffled over origins: ten of them, no topic of one alone."""
    enough = len(topics) >= MIN_DOCUMENTS_FOR_P
    return enough and int(np.bincount(topics).min()) >= FEWEST_PER_TOPIC


def information_null(
    counts: np.ndarray, labels: np.ndarray, num_experts: int, orders: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Information of labels about experts, as it is and with labels shuffled over units.

    Args:
        counts: (U, L·E) choices of each unit.
        labels: (U) from 0.
        num_experts: E.
        orders: (P, U) orders of the units.

    Returns:
        `information.information_bits`, (L) and (P, L).
    """
    number, shape = int(labels.max()) + 1, (-1, num_experts)
    observed = information_bits(topic_sums(counts, labels, number).reshape(number, *shape))
    sums = permuted_sums(counts.astype(float), labels[orders], number)
    null = [information_bits(part.reshape(len(part), number, *shape)) for part in sums]
    return observed, np.concatenate(null)
