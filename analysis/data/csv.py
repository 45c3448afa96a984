"""Tables as CSV that a spreadsheet opens as text: no cell of a corpus is a formula there."""

from pathlib import Path

import pandas as pd

FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_csv(frame: pd.DataFrame, path: Path, *, index: bool = False) -> None:
    """Writes a table; text that a spreadsheet would calculate gets an apostrophe before it.

    Args:
        frame: numbers stay as they are.
        path: the file.
        index: whether the index is a column.
    """
    table = frame.reset_index() if index else frame
    table = table.rename(columns=defused)
    text = [i for i, kind in enumerate(table.dtypes) if not pd.api.types.is_numeric_dtype(kind)]
    columns = {i: table.iloc[:, i].map(defused) for i in text}
    whole = [columns.get(i, table.iloc[:, i]) for i in range(table.shape[1])]
    (pd.concat(whole, axis=1) if whole else table).to_csv(path, index=False)


def defused(cell: object) -> object:
    """Puts an apostrophe before what a spreadsheet takes for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell
