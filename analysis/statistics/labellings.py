"""All ways to give labels to few observations; a random draw of them where there are too many."""

from dataclasses import dataclass
from math import factorial, prod

import numpy as np

MOST_LABELLINGS = 20_000  # listed one by one


@dataclass(frozen=True)
class Labellings:
    """Labels of R observations under a permutation test.

    Attributes:
        labels: (P, R); the first row is the observed one.
        is_complete: whether every distinct labelling is a row.
    """

    labels: np.ndarray
    is_complete: bool

    def p_values(self, statistics: np.ndarray) -> np.ndarray:
        """Share of labellings whose statistic is at least that of the first row: (P, …) → (…).

        With every labelling listed this is exact; with a draw it is (b + 1) / (P + 1), with the
        observed labelling as the one more.
        """
        tolerance = 1e-9 * np.maximum(1.0, np.abs(statistics[0]))
        p_values: np.ndarray = (statistics >= statistics[0] - tolerance).mean(axis=0)
        return p_values


def labellings(labels: np.ndarray, draws: int, generator: np.random.Generator) -> Labellings:
    """Lists every distinct order of the labels, or draws orders where these are more than 20,000.

    Args:
        labels: (R) from 0.
        draws: how many to draw besides the observed one.
        generator: draws them.
    """
    if number_of_labellings(labels) > MOST_LABELLINGS:
        drawn = generator.permuted(np.broadcast_to(labels, (draws, len(labels))), axis=1)
        return Labellings(np.concatenate([labels[None], drawn]), False)
    every = np.array(_orders(np.bincount(labels).tolist(), len(labels)), dtype=labels.dtype)
    observed = (every == labels).all(axis=1)
    return Labellings(np.concatenate([labels[None], every[~observed]]), True)


def number_of_labellings(labels: np.ndarray) -> int:
    """R! / Π r_g! of R labels, r_g of them alike."""
    sizes = np.bincount(labels).tolist()
    return factorial(len(labels)) // prod(factorial(size) for size in sizes)


def smallest_p(labels: np.ndarray, draws: int) -> float:
    """The smallest p-value that a test blind to the labels' names can give.

    Labels of the same size can swap their names without a change of the statistic, so that this
    many labellings always tie with the observed one.
    """
    sizes = np.bincount(labels)
    ties = prod(factorial(int(number)) for number in np.bincount(sizes[sizes > 0]))
    exact = ties / number_of_labellings(labels)
    return exact if number_of_labellings(labels) <= MOST_LABELLINGS else max(exact, 1 / (draws + 1))


def _orders(left: list[int], length: int) -> list[list[int]]:
    """Every sequence that holds label g `left[g]` times."""
    if not length:
        return [[]]
    found = []
    for label, number in enumerate(left):
        if number:
            left[label] -= 1
            found += [[label, *rest] for rest in _orders(left, length - 1)]
            left[label] += 1
    return found
