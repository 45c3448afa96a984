"""What several test folders share: offline by default, the real command line, one small run."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import preloaded

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # before torch: workers share the cores
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

PLAIN = {"HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
ROOT = Path(__file__).parent.parent
Command = Callable[..., subprocess.CompletedProcess[str]]


def hear_interrupts() -> None:
    """For a child that is to be interrupted: programs in the background are born deaf to SIGINT."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def command(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """Runs `moescope ARGUMENTS` in its own process and returns what it printed.

    The libraries are there already, unless the environment is to change: some read it when they
    are imported.
    """

    def run(*arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **PLAIN, **changes}
        if not changes:
            return preloaded.run(arguments, environment, tmp_path_factory.mktemp("printed"), 300)
        return subprocess.run(
            [sys.executable, "-m", "moescope", *arguments],
            capture_output=True,
            text=True,
            timeout=300,
            env=environment,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def debug_run(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one finished `experiment=debug` pipeline; tests read it and never write it."""
    runs = tmp_path_factory.mktemp("runs")
    done = command("pipeline", "experiment=debug", f"paths.runs={runs}")
    assert done.returncode == 0, done.stderr
    return runs / "debug"
