"""The one progress bar of every stage: count, rate, remaining time."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

# lines stay whole and as they are: paths and topics may hold [brackets] and :colons:
console = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)


class RateColumn(ProgressColumn):
    """Units per second, e.g. "812 documents/s"."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        unit = task.fields.get("unit", "items")
        return Text(f"{speed:,.0f} {unit}/s" if speed else f"- {unit}/s", style="cyan")


class Advance:
    """Moves one bar; `advance(n)` after n more units, `update(text)` to change what it says."""

    def __init__(self, progress: Progress, task_id: int) -> None:
        self._progress = progress
        self._task_id = task_id

    def __call__(self, count: int = 1) -> None:
        self._progress.advance(self._task_id, count)  # type: ignore[arg-type]

    def update(self, description: str) -> None:
        self._progress.update(self._task_id, description=description)  # type: ignore[arg-type]


@contextmanager
def progress_bar(description: str, total: int | None, unit: str = "items") -> Iterator[Advance]:
    """Shows a bar on a terminal; writes nothing where the output is not one."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task_id = progress.add_task(description, total=total, unit=unit)
        yield Advance(progress, task_id)
