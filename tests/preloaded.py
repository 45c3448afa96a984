"""The command line in a process that has its libraries already: they take longer than most tests.

A server imports everything once (Python's forkserver) and forks for every command; the child has
its own streams and environment, and ends with the command's exit code.
"""

import atexit
import importlib
import multiprocessing
import os
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from functools import cache
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path
from unittest.mock import patch

from moescope.command_line import main

WORK = tuple(
    f"moescope.{name}"
    for name in (
        *("data_processors.corpus", "data_processors.mask", "train.train", "inference.route"),
        *("inference.checkpoints.import_checkpoint", "inference.checkpoints.export_checkpoint"),
        *("inference.generation.session", "analysis.report", "analysis.comparison.compare"),
    )
)
PRELOAD = "MOESCOPE_TESTS_PRELOAD"
if PRELOAD in os.environ:  # in the server
    for module in WORK:
        importlib.import_module(module)


def run(
    arguments: Sequence[str], environment: Mapping[str, str], folder: Path, timeout: float
) -> subprocess.CompletedProcess[str]:
    """Runs `moescope ARGUMENTS`; what it prints goes through files in `folder`.

    The libraries are imported under the environment of the first call.
    """
    with patch.dict(os.environ, {**environment, PRELOAD: "1"}):
        context = server()
    out, err = folder / "stdout", folder / "stderr"
    process = context.Process(target=work, args=(list(arguments), dict(environment), out, err))
    process.start()
    process.join(timeout)
    if process.exitcode is None:
        process.kill()
        raise subprocess.TimeoutExpired(list(arguments), timeout)
    printed = (path.read_text(encoding="utf-8", errors="replace") for path in (out, err))
    return subprocess.CompletedProcess(list(arguments), process.exitcode, *printed)


@cache
def server() -> ForkServerContext:
    """Starts the server."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    forkserver.ensure_running()
    return context


def work(arguments: list[str], environment: dict[str, str], out: Path, err: Path) -> None:
    """The child: takes the streams and the environment, and is then the command."""
    for path, stream in ((out, sys.stdout), (err, sys.stderr)):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(descriptor, stream.fileno())
        os.close(descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.clear()
    os.environ.update(environment)
    code = 1
    try:
        code = main(arguments)
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else 1
    except BaseException:
        traceback.print_exc()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
