"""Rows of frames as records, and records as JSON."""

import math
from typing import Any

import pandas as pd


def rows(frame: pd.DataFrame) -> list[Any]:
    """Returns a frame's rows as named tuples."""
    return list(frame.itertuples(index=False))


def largest(frame: pd.DataFrame, column: str) -> Any:
    """Returns the row with the largest value in a column, the first of equals."""
    return rows(frame.loc[[frame[column].idxmax()]])[0]


def without_nan(value: Any) -> Any:
    """Replaces NaN by null, which is what JSON has."""
    if isinstance(value, dict):
        return {name: without_nan(item) for name, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
