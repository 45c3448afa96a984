"""Dated documents, sorted by period and by block."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...data.documents import DocumentCounts
from ...statistics.permutations import topic_sums

MOST_PERIODS = 12
WIDTHS = (1, 3, 6, 12, 24, 60, 120, 240, 300, 600, 1200)  # months


@dataclass(frozen=True)
class DatedDocuments:
    """Documents with a date, and the blocks that are one observation of their time each.

    A block is a group, or all documents of one speaker, source or other named column.

    Attributes:
        rows: (D) ascending rows of `DocumentCounts`.
        months: (D) months since year 0.
        counts: (D, L·E) choices, untouched tokens.
        tokens: (D).
        blocks: (D) number of each document's block, from 0.
        first: (B) row of `DocumentCounts` of each block's first document.
        periods: names, in order of time.
        period_ids: (D) index into `periods`.
    """

    rows: np.ndarray
    months: np.ndarray
    counts: np.ndarray
    tokens: np.ndarray
    blocks: np.ndarray
    first: np.ndarray
    periods: tuple[str, ...]
    period_ids: np.ndarray

    @property
    def num_blocks(self) -> int:
        """Observations."""
        return len(self.first)

    def block_months(self) -> np.ndarray:
        """Mean date of each block's documents, weighted by their tokens: (B)."""
        tokens = np.bincount(self.blocks, self.tokens, self.num_blocks)
        sums = np.bincount(self.blocks, self.tokens * self.months, self.num_blocks)
        months: np.ndarray = sums / np.maximum(tokens, 1)
        return months

    def block_sums(self, values: np.ndarray) -> np.ndarray:
        """Adds values of documents (D, …) by block: (B, …)."""
        return topic_sums(values, self.blocks, self.num_blocks)


def dated_documents(
    data: DocumentCounts, documents: pd.DataFrame, blocks: Mapping[str, str] | None
) -> DatedDocuments | None:
    """Sorts the dated documents by period and block; None where all are of one period.

    Args:
        data: per-document counts.
        documents: documents.parquet (`id`, `date`).
        blocks: document id → block; None = each document by itself.
    """
    dates = documents.set_index(documents["id"].astype(str))["date"].dropna()
    dates = pd.to_datetime(dates[~dates.index.duplicated()])
    months_of = (dates.dt.year * 12 + dates.dt.month - 1).to_dict()
    rows = np.array([row for row, name in enumerate(data.ids) if name in months_of], dtype=np.int64)
    if not len(rows):
        return None
    months = np.array([months_of[data.ids[row]] for row in rows])
    periods, period_ids = name_periods(months)
    if len(periods) < 2:
        return None
    names = [data.ids[row] for row in rows]
    numbers, _ = pd.factorize(np.array([blocks.get(x, x) if blocks else x for x in names]))
    return DatedDocuments(
        rows=rows,
        months=months,
        counts=data.counts[rows].reshape(len(rows), -1),
        tokens=data.tokens[rows],
        blocks=numbers,
        first=rows[np.unique(numbers, return_index=True)[1]],
        periods=periods,
        period_ids=period_ids,
    )


def name_periods(months: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """Cuts time into at most 12 periods of the same round length that hold something.

    Returns:
        ("1790–1809", …), "1790" for years and "1790-01" for shorter ones; and the period of each.
    """
    first, last = int(months.min()), int(months.max())
    fitting = (w for w in WIDTHS if last // w - first // w < MOST_PERIODS)
    width = next(fitting, WIDTHS[-1])
    starts, ids = np.unique(months // width, return_inverse=True)
    names = []
    for start in (starts * width).astype(int).tolist():
        year, final = start // 12, (start + width) // 12 - 1
        if width < 12:
            names.append(f"{year}-{start % 12 + 1:02d}")
        else:
            names.append(f"{year}" if width == 12 else f"{year}–{final}")
    return tuple(names), ids
