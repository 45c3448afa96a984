"""Dated documents, sorted by origin and period."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...data.documents import DocumentCounts
from ...statistics.groups import origin_units
from ...statistics.permutations import topic_sums

MOST_PERIODS = 12
WIDTHS = (1, 3, 6, 12, 24, 60, 120, 240, 300, 600, 1200)  # months


@dataclass(frozen=True)
class DatedOrigins:
    """Documents of one origin and date, added up.

    Attributes:
        rows: (U) ascending row of `DocumentCounts` of each origin's first document.
        months: (U) months since year 0.
        counts: (U, L·E) choices, untouched tokens.
        tokens: (U).
        documents: (U).
        periods: names, in order of time.
        period_ids: (U) index into `periods`.
    """

    rows: np.ndarray
    months: np.ndarray
    counts: np.ndarray
    tokens: np.ndarray
    documents: np.ndarray
    periods: tuple[str, ...]
    period_ids: np.ndarray


def dated_origins(
    data: DocumentCounts, documents: pd.DataFrame, origins: Mapping[str, str] | None
) -> DatedOrigins | None:
    """Sorts the dated documents by origin and date; None where all are of one period.

    Args:
        data: per-document counts.
        documents: documents.parquet (`id`, `date`).
        origins: document id → origin; None = each document by itself.
    """
    dates = documents.set_index(documents["id"].astype(str))["date"].dropna()
    dates = pd.to_datetime(dates[~dates.index.duplicated()])
    months_of = (dates.dt.year * 12 + dates.dt.month - 1).to_dict()
    rows = np.array([row for row, name in enumerate(data.ids) if name in months_of], dtype=np.int64)
    if not len(rows):
        return None
    months = np.array([months_of[data.ids[row]] for row in rows])
    names = [
        origins.get(data.ids[row], data.ids[row]) if origins else data.ids[row] for row in rows
    ]
    units, first = origin_units(names, months)
    own_months = months[first]
    periods, period_ids = name_periods(own_months)
    if len(periods) < 2:
        return None
    number = len(first)
    return DatedOrigins(
        rows=rows[first],
        months=own_months,
        counts=topic_sums(data.counts[rows].reshape(len(rows), -1), units, number),
        tokens=topic_sums(data.tokens[rows], units, number),
        documents=np.bincount(units, minlength=number),
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
    for start in (starts * width).tolist():
        year, final = start // 12, (start + width) // 12 - 1
        if width < 12:
            names.append(f"{year}-{start % 12 + 1:02d}")
        else:
            names.append(f"{year}" if width == 12 else f"{year}–{final}")
    return tuple(names), ids
