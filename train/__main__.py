"""`python -m moescope.train` is `moescope train`; under torchrun, one process of several."""

import os
import sys

from ..configs.cli import main
from ..configs.stages import TRAIN


def run(arguments: list[str]) -> int:
    """Returns the exit code."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or {"-h", "--help"} & set(arguments):
        return main([TRAIN], arguments, "moescope train")
    from .worker import run_processes

    return run_processes(arguments)


sys.exit(run(sys.argv[1:]))
