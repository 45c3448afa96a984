"""One command writes a folder, any number read it; whoever waits says for whom."""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from .errors import UserError
from .progress import console
from .terminal import printable

POLL_S = 0.2
SIGN = "lock of moescope"


@contextmanager
def writing(target: Path, command: str) -> Iterator[None]:
    """Keeps every other command from writing or reading `target`; makes the folders above it.

    Folders that are still empty afterwards are removed again.
    """
    made = [folder for folder in (target.parent, *target.parent.parents) if not folder.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _held(target, fcntl.LOCK_EX, command):
            yield
    finally:
        with suppress(OSError):
            for folder in made:
                folder.rmdir()


@contextmanager
def reading(folder: Path, command: str) -> Iterator[None]:
    """Keeps other commands from replacing a folder while it is read.

    Where no lock can be written (another user's folder) there is none.
    """
    if not folder.parent.is_dir() or not os.access(folder.parent, os.W_OK):
        yield
        return
    with _held(folder, fcntl.LOCK_SH, command):
        yield


@contextmanager
def _held(target: Path, kind: int, command: str) -> Iterator[None]:
    path = target.with_name(f".{target.name}.lock")
    descriptor = _acquire(path, kind, target)
    try:
        _sign(descriptor, command)
        yield
    finally:
        with suppress(OSError):  # the last to leave removes the file; its waiters open a new one
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        os.close(descriptor)


def _acquire(path: Path, kind: int, target: Path) -> int:
    told = False
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _refuse_foreign(path, descriptor)
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            if _is_at(path, descriptor):
                return descriptor
        except BlockingIOError:
            if not told:
                _tell(descriptor, target)
            told = True
            time.sleep(POLL_S)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _refuse_foreign(path: Path, descriptor: int) -> None:
    content = os.pread(descriptor, 4096, 0)
    if content and SIGN.encode() not in content:
        raise UserError(
            f"{path}: a file that moescope has not written is where its lock goes; move it away"
        )


def _sign(descriptor: int, command: str) -> None:
    since = datetime.now().astimezone().isoformat(" ", "seconds")
    holder = {"what": SIGN, "pid": os.getpid(), "command": command, "since": since}
    content = (json.dumps(holder) + "\n").encode()
    with suppress(OSError):  # on a full disk the lock holds all the same
        os.pwrite(descriptor, content, 0)
        os.ftruncate(descriptor, len(content))


def _tell(descriptor: int, target: Path) -> None:
    try:
        holder = json.loads(os.pread(descriptor, 65536, 0))
        who = f"`{holder['command']}` (process {holder['pid']}, since {holder['since']})"
    except (ValueError, KeyError, TypeError):
        who = "another moescope"
    line = f"waiting for {who}, which is using {target}; Ctrl-C gives up"
    console.print(printable(line), markup=False, soft_wrap=True)
