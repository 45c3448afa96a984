"""Files that are whole or not there: written aside, synced to the disk, renamed."""

import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """Opens a file for writing that appears under its name when the block ends well.

    A reader sees the old content or the new, never a part, and so does whoever looks after a power
    cut. The temporary sibling has a name of its own, so nothing that lies beside is overwritten.

    Raises:
        OSError: the file cannot be written; the old content stays.
    """
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with aside.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes a file whole; text as UTF-8."""
    with written_whole(path) as stream:
        stream.write(content if isinstance(content, bytes) else content.encode())


def write_json(
    path: Path,
    value: Any,
    *,
    indent: int | None = 1,
    default: Callable[[Any], Any] | None = None,
) -> None:
    """Writes a value as JSON, whole.

    Raises:
        ValueError: a number that is not finite, which JSON has not.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False, default=default)
    write_whole(path, text + "\n")


def sync_tree(folder: Path) -> None:
    """Waits until every file and folder below is on the disk, the folder itself included."""
    for parent, _, names in os.walk(folder):
        for name in names:
            descriptor = os.open(os.path.join(parent, name), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        sync_folder(Path(parent))


def sync_folder(folder: Path) -> None:
    """Waits until the names in a folder are on the disk."""
    if os.name == "nt":  # a folder cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
