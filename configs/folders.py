"""How a stage's folder comes into being: written aside, synced, renamed; the old one is kept aside.

While NAME is made there is `.NAME.partial`; for the moment between two renames the old result is
`.NAME.replaced`. A command that is killed there loses neither: `recover` puts the old one back.
"""

import errno
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from .errors import UserError
from .manifest import stage_of
from .ownership import (
    MARK,
    free_sibling,
    make_ours,
    numbered,
    remove_ours,
)
from .progress import console
from .whole_files import sync_folder, sync_tree


@dataclass
class Aside:
    """Where a stage writes before its result gets its place.

    Attributes:
        folder: becomes `target`.
        beside: file that is published with the folder → where it is written.
        keeps_old: whether the result that is replaced is kept under a number.
    """

    target: Path
    folder: Path
    beside: dict[Path, Path] = field(default_factory=dict)
    keeps_old: bool = True


@contextmanager
def written_aside(target: Path, field: str, beside: Iterable[Path]) -> Iterator[Aside]:
    """Gives temporary siblings that take the place of `target` only if the block ends well.

    Args:
        target: the stage's folder.
        field: the setting that names it.
        beside: files that the stage publishes with its folder.

    Raises:
        UserError: somebody's files are in the way, or there is no room.
    """
    aside = Aside(target, _partial(target), {path: _unused(path) for path in beside})
    try:
        make_ours(aside.folder, field)
        remove_ours(replaced_by(target), field)
        for path in aside.beside:
            path.parent.mkdir(parents=True, exist_ok=True)
        yield aside
        _put_in_place(aside, field)
    except UserError:  # says itself what failed, and where
        raise
    except Exception as error:
        if isinstance(error, OSError) and _concerns(error, aside):
            raise unwritable(target, error) from error
        if is_full_disk(error):
            full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raise unwritable(target, full) from error
        raise
    finally:
        with suppress(OSError, UserError):
            remove_ours(aside.folder, field)
        for path in aside.beside.values():
            with suppress(OSError):
                path.unlink(missing_ok=True)


def recover(target: Path) -> None:
    """Puts back what a command that was killed between two renames left; call under the lock."""
    replaced = replaced_by(target)
    if not replaced.is_dir() or stage_of(replaced) is None or (replaced / MARK).is_file():
        return
    if target.exists():
        _set_aside(target, replaced, free_sibling(target))
        return
    replaced.rename(target)
    sync_folder(target.parent)
    console.print(f"{target}: put back, an interrupted command had moved it away")


def _put_in_place(aside: Aside, field: str) -> None:
    target, replaced = aside.target, replaced_by(aside.target)
    (aside.folder / MARK).unlink()
    sync_tree(aside.folder)
    if target.is_dir() and not any(target.iterdir()):
        target.rmdir()
    if target.exists():
        target.rename(replaced)
    aside.folder.rename(target)
    number = free_sibling(target, *aside.beside)
    for path, written in aside.beside.items():
        if aside.keeps_old and path.exists():
            path.rename(numbered(path, number))
        if written.exists():
            written.replace(path)
    sync_folder(target.parent)
    if replaced.exists() and aside.keeps_old:
        _set_aside(target, replaced, number)
    else:
        remove_ours(replaced, field)


def _set_aside(target: Path, replaced: Path, number: int) -> None:
    """Gives the replaced result its number."""
    replaced.rename(numbered(target, number))
    sync_folder(target.parent)
    console.print(
        f"{target}: the earlier result is kept as {numbered(target, number)}",
        markup=False,
        soft_wrap=True,
    )


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")


def _unused(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")


def replaced_by(path: Path) -> Path:
    """Names where a result is for the moment in which another takes its place."""
    return path.with_name(f".{path.name}.replaced")


def _concerns(error: OSError, aside: Aside) -> bool:
    name = str(error.filename or "")
    return name.startswith((str(aside.folder), str(aside.target), *map(str, aside.beside.values())))


def is_full_disk(error: BaseException | None) -> bool:
    """Whether an error, or one that led to it, says that the disk is full; libraries reword it."""
    words = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT), "No space left", "StorageFull")
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if any(word in str(error) for word in words):
            return True
        error = error.__cause__ or error.__context__
    return False


def unwritable(target: Path, error: OSError) -> UserError:
    """Says where writing failed, why, and what helps."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    place = error.filename or target
    return UserError(
        f"{place}: cannot write ({reason}); make room or choose another place with paths.*"
    )
