"""Shows answers as they grow: one below the other, or side by side on a wide terminal."""

from collections.abc import Sequence
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

COLUMN_WIDTH = 40  # least characters for a model's answer beside another's


class Streamed:
    """Prints answers one below the other; `headers` may be empty (the text alone)."""

    def __init__(self, console: Console, headers: Sequence[str]) -> None:
        self._console, self._headers = console, headers

    def __enter__(self) -> "Streamed":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def begin(self, number: int) -> None:
        """Starts the answer of model `number`."""
        if self._headers:
            self._console.print(Text(f"── {self._headers[number]}", style="bold"), soft_wrap=True)

    def add(self, number: int, piece: Text) -> None:
        """Shows the next piece of its text."""
        self._console.print(piece, end="", soft_wrap=True)

    def end(self, number: int, closing: Text) -> None:
        """Shows the lines below its text."""
        self._console.print()
        if closing:
            self._console.print(closing, soft_wrap=True)


class SideBySide:
    """Grows a column for each model on a terminal."""

    def __init__(self, console: Console, headers: Sequence[str]) -> None:
        self._headers = headers
        self._texts = [Text() for _ in headers]
        self._closings = [Text() for _ in headers]
        self._live = Live(
            console=console,
            get_renderable=self._table,
            refresh_per_second=8,
            vertical_overflow="visible",
        )

    def __enter__(self) -> "SideBySide":
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.stop()

    def begin(self, number: int) -> None:
        """Does nothing: every column is there from the start."""

    def add(self, number: int, piece: Text) -> None:
        """Adds to a column's text."""
        self._texts[number].append_text(piece)

    def end(self, number: int, closing: Text) -> None:
        """Puts a closing below a column's text."""
        self._closings[number] = closing

    def _table(self) -> Table:
        table = Table(expand=True)
        for header in self._headers:
            table.add_column(Text(header), ratio=1, overflow="fold")
        table.add_row(*(Group(*pair) for pair in zip(self._texts, self._closings, strict=True)))
        return table


def open_display(console: Console, headers: Sequence[str]) -> Streamed | SideBySide:
    """Chooses columns where several answers have room for them on a terminal."""
    wide = console.is_terminal and console.width >= COLUMN_WIDTH * len(headers)
    return SideBySide(console, headers) if len(headers) > 1 and wide else Streamed(console, headers)
