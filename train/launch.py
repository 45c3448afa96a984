"""Several processes started from one command, by torchrun's own launcher."""

import json
import logging
import os
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from ..configs.errors import Terminated, UserError
from ..configs.stage import StageRun
from .arguments import device_of
from .tasks import task_of

WORKER = ("-m", "moescope.train.worker")
ENDING_S = 90  # after SIGTERM, for a checkpoint
TERMINATED = 143


def launch(stage: StageRun) -> Mapping[str, Any]:
    """Trains in `train.processes` processes on this machine; this one waits and keeps the stage.

    Raises:
        UserError: more processes than GPUs, or what made the first of them fail.
        Terminated: SIGTERM came, and they have written a checkpoint.
    """
    count = stage.config.train.processes
    if device_of(stage.config.train) == "cuda" and count > torch.cuda.device_count():
        raise UserError(
            f"train.processes={count}: there are {torch.cuda.device_count()} GPUs here; choose as "
            "many, or start torchrun on each machine (docs/training.md)"
        )
    with tempfile.TemporaryDirectory() as folder, _own_threads(count):
        task, result = Path(folder, "task.json"), Path(folder, "counts.json")
        task.write_text(task_of(stage), encoding="utf-8")
        _run(count, str(task), str(result))
        return dict(json.loads(result.read_text(encoding="utf-8")))


def _run(count: int, *arguments: str) -> None:
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
        shutdown_timeout=ENDING_S,
    )
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("torch.distributed.elastic"):  # what it would say is said in one line
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        elastic_launch(config, sys.executable)(*WORKER, *arguments)
    except SignalException as stop:
        raise (Terminated if stop.sigval == 15 else KeyboardInterrupt)() from stop
    except ChildFailedError as failed:
        rank, failure = failed.get_first_failure()
        if failure.exitcode == TERMINATED:
            raise Terminated from failed
        if failure.exitcode == 130:
            raise KeyboardInterrupt from failed
        said: Any = failure.message
        if isinstance(said, dict):  # what `worker.py` recorded
            said = said["message"].removeprefix("UserError: ")
        if failure.exitcode < 0:  # killed: it had no last words
            said = f"train: process {rank} of {count} was ended by {failure.signal_name()}"
        raise UserError(said) from failed


@contextmanager
def _own_threads(count: int) -> Iterator[None]:
    """Gives every process its part of the cores, unless the environment says otherwise."""
    name, before = "OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS")
    os.environ.setdefault(name, str(max(len(os.sched_getaffinity(0)) // count, 1)))
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
