"""What the tool wrote, and what it therefore may replace or remove. Asked before every deletion.

A result is known by its manifest, a folder on the way to one by the mark that is written first and
removed last. Whatever is neither is somebody's, and is refused in one line.
"""

import json
import os
import re
import shutil
from pathlib import Path

from .errors import UserError
from .manifest import stage_of

MARK = ".moescope"  # a file: this folder is being made or removed by moescope


def is_ours(folder: Path) -> bool:
    """Whether the tool may remove a folder: marked, of a stage, empty, or not there."""
    if folder.is_symlink() or not folder.is_dir():
        return not os.path.lexists(folder)
    return (folder / MARK).is_file() or stage_of(folder) is not None or not any(folder.iterdir())


def refuse_foreign(path: Path, field: str, *, ours: bool) -> None:
    """Refuses a path that holds what the tool has not written.

    Args:
        path: what would be written, replaced or emptied.
        field: the setting that names it, e.g. "paths.checkpoints".
        ours: whether the tool wrote all that is there.

    Raises:
        UserError: it did not.
    """
    if not ours:
        holds = "holds files that no stage wrote" if path.is_dir() else "no stage wrote this file"
        raise UserError(
            f"{path}: {holds}, and nothing of others is ever replaced; move it away or choose "
            f"another place with {field}"
        )


def make_ours(folder: Path, field: str) -> None:
    """Makes an empty folder with the mark; what an earlier command left there is removed.

    Raises:
        UserError: somebody's files are there.
    """
    remove_ours(folder, field)
    folder.mkdir(parents=True)
    (folder / MARK).touch()


def remove_ours(folder: Path, field: str) -> None:
    """Removes a folder of the tool's, mark last: what a kill leaves of it is still known.

    Raises:
        UserError: somebody's files are there.
    """
    if not os.path.lexists(folder):
        return
    refuse_foreign(folder, field, ours=is_ours(folder))
    (folder / MARK).touch()
    for path in folder.iterdir():
        if path.name != MARK:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    (folder / MARK).unlink()
    folder.rmdir()


def is_json_lines(path: Path, *keys: str) -> bool:
    """Whether a file is empty, absent, or JSON Lines whose objects all have these keys.

    A last line that was cut short is passed over.
    """
    if not os.path.lexists(path):
        return True
    if path.is_symlink() or not path.is_file():
        return False
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
        rows = [json.loads(line) for line in lines[:-1] if line.strip()]
    except (UnicodeDecodeError, ValueError, RecursionError):
        return False
    whole = all(isinstance(row, dict) and set(keys) <= row.keys() for row in rows)
    return whole and (bool(rows) or not lines[-1].strip())


def free_sibling(path: Path, *others: Path) -> int:
    """Returns the smallest number N > 0 for which `numbered(p, N)` is free for every path."""
    number = 1
    while any(os.path.lexists(numbered(each, number)) for each in (path, *others)):
        number += 1
    return number


def numbered(path: Path, number: int) -> Path:
    """Names what is set aside: model → model.1, metrics.jsonl → metrics.1.jsonl."""
    return path.with_name(f"{path.stem}.{number}{path.suffix}")


def set_aside(path: Path) -> list[Path]:
    """Lists what was set aside of a path, the newest first."""
    pattern = re.compile(rf"{re.escape(path.stem)}\.(\d+){re.escape(path.suffix)}")
    places = path.parent.iterdir() if path.parent.is_dir() else ()
    found = [(int(match[1]), each) for each in places if (match := pattern.fullmatch(each.name))]
    return [each for _, each in sorted(found, reverse=True)]
