"""`moescope` commands in forked processes, in which something can be made to go wrong.

The libraries are imported once; every command is a child that ends with the command's exit code.
"""

import errno
import importlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

WORK = (
    *("data_processors.corpus", "data_processors.mask", "train.train", "inference.route"),
    *("analysis.report", "configs.compose"),
)
CHANGES = ("rename", "replace", "fsync", "unlink", "mkdir", "rmdir")  # of os: what moves a disk on
Trouble = Callable[[], None]
"""What a child does to itself before the command starts."""


class Done(NamedTuple):
    """How a command ended: its exit code (negative: a signal), and all that it printed."""

    code: int
    printed: str


class Running(NamedTuple):
    """A command that runs."""

    pid: int
    printed: Path

    def wait(self, *, kill_after: float | None = None, patience: float = 120) -> Done:
        """Waits for the end; with `kill_after` (seconds) SIGKILL comes first, if it still runs."""
        started = time.monotonic()
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                return Done(code, self.printed.read_text(encoding="utf-8", errors="replace"))
            elapsed = time.monotonic() - started
            if elapsed > (patience if kill_after is None else kill_after):
                os.kill(self.pid, signal.SIGKILL)
            time.sleep(0.001)


def preload() -> None:
    """Imports what the stages need, before anything is forked."""
    for name in WORK:
        importlib.import_module(f"moescope.{name}")


def start(arguments: Sequence[str], folder: Path, trouble: Trouble | None = None) -> Running:
    """Starts `moescope ARGUMENTS`; what it prints goes to a file in `folder`."""
    printed = folder / f"printed-{time.monotonic_ns()}"
    pid = os.fork()
    if pid:
        return Running(pid, printed)
    code = 1
    try:
        _redirect(printed)
        if trouble is not None:
            trouble()
        from moescope.command_line import main

        code = main(list(arguments))
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else 1
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def run(arguments: Sequence[str], folder: Path, trouble: Trouble | None = None) -> Done:
    """Runs `moescope ARGUMENTS` to its end."""
    return start(arguments, folder, trouble).wait()


def _redirect(printed: Path) -> None:
    descriptor = os.open(printed, os.O_WRONLY | os.O_CREAT, 0o600)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)


# -- troubles -------------------------------------------------------------------------------------


def die() -> None:
    """Ends this process as a power cut would."""
    os.kill(os.getpid(), signal.SIGKILL)


def at_change(number: int, act: Callable[[], None]) -> Trouble:
    """Acts before the n-th change of the disk (a rename, a sync, a removal …)."""
    left = [number]

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **named: Any) -> Any:
            left[0] -= 1
            if not left[0]:
                act()
            return function(*arguments, **named)

        return counted

    return lambda: _patch(os, CHANGES, wrap)


def count_changes(place: Path) -> Trouble:
    """Writes one byte to a file for every change of the disk."""

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **named: Any) -> Any:
            with place.open("ab") as stream:
                stream.write(b".")
            return function(*arguments, **named)

        return counted

    return lambda: _patch(os, CHANGES, wrap)


def in_a_write(number: int) -> Trouble:
    """Dies in the n-th write of weights or states: half of the file is there."""
    left = [number]

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        def halved(value: Any, path: Any, *arguments: Any, **named: Any) -> Any:
            result = function(value, path, *arguments, **named)
            left[0] -= 1
            if not left[0]:
                os.truncate(path, os.path.getsize(path) // 2)
                die()
            return result

        return halved

    def trouble() -> None:
        import safetensors.torch
        import torch
        import transformers.modeling_utils

        _patch(torch, ("save",), wrap)
        _patch(safetensors.torch, ("save_file",), wrap)
        transformers.modeling_utils.safe_save_file = safetensors.torch.save_file

    return trouble


def failing(number: int, code: int) -> Trouble:
    """The n-th change of the disk fails with an error number, and so does every later one."""

    def fail() -> None:
        raise OSError(code, os.strerror(code))

    return at_change(number, fail)


def unreadable(name: str) -> Trouble:
    """Reading a file of this name fails with EIO, where Python reads it."""
    import io

    open_file = io.open

    def opened(file: Any, *arguments: Any, **named: Any) -> Any:
        if isinstance(file, (str, Path)) and Path(file).name == name:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(file))
        return open_file(file, *arguments, **named)

    def trouble() -> None:
        import builtins

        io.open = opened  # type: ignore[assignment]
        builtins.open = opened  # type: ignore[assignment]

    return trouble


def _patch(
    module: Any, names: Sequence[str], wrap: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> None:
    for name in names:
        setattr(module, name, wrap(getattr(module, name)))
