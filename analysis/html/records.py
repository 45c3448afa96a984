"""Rows of frames as records."""

from typing import Any

import pandas as pd


def rows(frame: pd.DataFrame) -> list[Any]:
    """Returns a frame's rows as named tuples."""
    return list(frame.itertuples(index=False))


def largest(frame: pd.DataFrame, column: str) -> Any:
    """Returns the row with the largest value in a column, the first of equals."""
    return rows(frame.loc[[frame[column].idxmax()]])[0]
