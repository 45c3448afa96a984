"""Makes a document of a row of named columns; checks dates, labels and missing columns."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Protocol

from ...configs.errors import UserError, nearest
from ..documents import Document, valid_text
from ..topics import UNLABELLED

FIRST_UNIX_TIME = 100_000_000  # whole numbers from here on are seconds since 1970, below years
_YEAR = re.compile(r"\d{4}")
_YEAR_MONTH = re.compile(r"\d{4}-\d{2}")


SINGLE = ("text", "topic", "date", "group")


class TableColumns(Protocol):
    """What the readers of tables ask about the columns that are wanted of a table."""

    def names(self) -> list[str]:
        """Lists the columns to read."""

    def check(self, present: Iterable[str], where: str) -> None:
        """Refuses a table that lacks one of them."""


@dataclass(frozen=True)
class Columns:
    """Which column of a source holds what; None = it has no such column."""

    text: str
    topic: str | None
    date: str | None
    group: str | None
    metadata: Sequence[str] = ()

    def names(self) -> list[str]:
        """Lists the columns to read."""
        single = (self.text, self.topic, self.date, self.group)
        return list(dict.fromkeys([*(n for n in single if n is not None), *self.metadata]))

    def check(self, present: Iterable[str], where: str) -> None:
        """Refuses a table that lacks a column.

        Raises:
            UserError: names the config key, the column, and the columns there are.
        """
        there = list(present)
        asked = [(f"{kind}_column", getattr(self, kind)) for kind in SINGLE]
        for key, name in [*asked, *(("metadata_columns", name) for name in self.metadata)]:
            if name is not None and name not in there:
                raise UserError(
                    f"{where}: no column {name!r} (source.{key}){nearest(name, there)}; "
                    f"there are: {', '.join(there) or 'none'}"
                )


def to_document(
    row: Mapping[str, Any], columns: Columns, *, name: str, source: str, where: str
) -> Document:
    """Builds a document; a null text is an empty one, a null topic stays None.

    Args:
        row: has all of `columns`.
        columns: which is which.
        name: the document's id.
        source: the file or dataset.
        where: file and row, for messages.

    Raises:
        UserError: a text that is no text, or a date that is no date.
    """
    text = row[columns.text]
    if not isinstance(text, str | None):
        kind = type(text).__name__
        raise UserError(f"{where}: column {columns.text!r} holds {kind} {text!r}, not text")
    topic = UNLABELLED if columns.topic is None else _label(row[columns.topic])
    when = None if columns.date is None else parse_date(row[columns.date], where, columns.date)
    group = None if columns.group is None else _label(row[columns.group])
    labels = ((column, _label(row[column])) for column in columns.metadata)
    metadata = tuple((column, label) for column, label in labels if label is not None)
    return Document(name, text or "", topic, when, source, group or name, metadata)


def _label(value: Any) -> str | None:
    return None if value is None else valid_text(str(value)) or None


def parse_date(value: Any, where: str, column: str) -> date | None:
    """Reads an ISO date or date-time, a year, a year and month, or Unix seconds; null is None.

    A year becomes its first day, a month its first.

    Raises:
        UserError: anything else; names the place and the value.
    """
    if value is None or value == "":
        return None
    try:
        if isinstance(value, datetime):
            return value.date()
        if isinstance(value, date):
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            seconds = value >= FIRST_UNIX_TIME
            return datetime.fromtimestamp(value, UTC).date() if seconds else date(value, 1, 1)
        if isinstance(value, str):
            return _from_text(value.strip())
    except (ValueError, OverflowError, OSError):
        pass
    raise UserError(
        f"{where}: {column}={value!r} is not a date; accepted: YYYY-MM-DD, an ISO date-time, "
        "YYYY-MM, YYYY, or Unix seconds as a whole number"
    )


def _from_text(text: str) -> date:
    if _YEAR.fullmatch(text):
        return date(int(text), 1, 1)
    if _YEAR_MONTH.fullmatch(text):
        return date.fromisoformat(f"{text}-01")
    return datetime.fromisoformat(text).date()
