"""One layer's groups compared by label, as they are and with labels permuted."""

from dataclasses import dataclass

import numpy as np

from .information_size import share_information
from .permutations import TIE, permuted_sums
from .welch import (
    ShareMoments,
    TopicShares,
    cell_statistics,
    topic_shares,
    welch_statistic,
)

PRECISE_UNITS = 2_000  # up to so many, sums are kept in float64
KEPT = 200  # permutations whose shares are kept


@dataclass(frozen=True)
class LabelTest:
    """What labels have to do with the choices of one layer.

    Attributes:
        pooled: (E) share of all groups.
        shares: of the labels as they are, as deviations from `pooled`.
        permuted_share: (P, T, E) `shares.share` of the first permutations, up to 200.
        permuted_total: (P, T, 1) `shares.total` of these.
        statistic: (P + 1) `welch.welch_statistic`; first as it is, then permuted.
        information: (P + 1) information of the labels' mean shares in bits, plug-in.
        cells: (T, E) `welch.cell_statistics` as they are.
        exceeding: (T, E) permutations in which a cell is as far from 0.
        largest: (P) largest |cell| of each permutation.
    """

    pooled: np.ndarray
    shares: TopicShares
    permuted_share: np.ndarray
    permuted_total: np.ndarray
    statistic: np.ndarray
    information: np.ndarray
    cells: np.ndarray
    exceeding: np.ndarray
    largest: np.ndarray


def label_test(moments: ShareMoments, labels: np.ndarray, num_labels: int) -> LabelTest:
    """Runs every permutation once, for the layer as a whole and for its cells.

    Args:
        moments: of the units' shares (`welch.share_moments`) or of what is left of them
            (`welch.residual_moments`).
        labels: (P + 1, U) `units.permuted_labels`.
        num_labels: T.
    """
    exact = labels.shape[1] <= PRECISE_UNITS
    columns = moments.columns.astype(np.float64 if exact else np.float32)
    observed = topic_shares(moments, next(permuted_sums(columns, labels[:1], num_labels))[0])
    own = cell_statistics(observed)
    floor = np.abs(own) * (1 - TIE)  # what differs by rounding alone is a tie
    exceeding = np.zeros(own.shape, np.int64)
    statistic: list[np.ndarray] = []
    information, largest, kept = [], [], []
    for added in permuted_sums(columns, labels, num_labels):
        shares = topic_shares(moments, added)
        if sum(map(len, statistic)) <= KEPT:
            kept.append((shares.share, shares.total))
        statistic.append(welch_statistic(shares, moments.pooled))
        means = np.maximum(shares.share + moments.pooled, 0)
        information.append(
            share_information(means / np.maximum(means.sum(axis=-1, keepdims=True), 1e-30))
        )
        cells = np.abs(cell_statistics(shares))
        exceeding += (cells >= floor).sum(axis=0)
        largest.append(cells.max(axis=(1, 2)))
    return LabelTest(
        pooled=moments.pooled,
        shares=observed,
        permuted_share=np.concatenate([share for share, _ in kept])[1 : KEPT + 1].copy(),
        permuted_total=np.concatenate([total for _, total in kept])[1 : KEPT + 1].copy(),
        statistic=np.concatenate(statistic).astype(np.float64),
        information=np.concatenate(information).astype(np.float64),
        cells=own,
        exceeding=exceeding - 1,  # the first row is the corpus itself
        largest=np.concatenate(largest)[1:],
    )
