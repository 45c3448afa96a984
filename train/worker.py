"""One of several processes that train together.

`moescope train train.processes=N` starts N of `python -m moescope.train.worker`; under
`torchrun -m moescope.train` the processes but the first serve it. Where one fails, torchrun ends
the others, and the one that failed first says why.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.errors import get_error_handler

from ..configs.cli import explain, main, set_up
from ..configs.errors import Terminated, UserError
from ..configs.progress import console
from ..configs.stage import StageRun
from ..configs.stages import TRAIN
from ..configs.terminal import printable
from .processes import Processes
from .tasks import stage_of, task_of
from .train import train


def work(task: str, result: str) -> int:
    """Trains with the others; process 0 leaves what the manifest counts. Returns the exit code."""

    def job() -> None:
        if counts := train(stage_of(Path(task).read_text(encoding="utf-8"))):
            Path(result).write_text(json.dumps(counts), encoding="utf-8")

    return _guarded(job, fails=lambda line: None)


def run_processes(arguments: Sequence[str]) -> int:
    """Runs the stage in the first process of torchrun's, serves it in the others."""
    processes = Processes()
    if processes.rank > 0:
        return _serve(processes)
    words = list(arguments)
    if not any(word.startswith("train.processes=") for word in words):
        words.append(f"train.processes={processes.count}")
    try:
        stage = replace(TRAIN, run=partial(_lead, processes=processes))
        return main([stage], words, "moescope train")
    finally:
        processes.hand_out("")


def _lead(stage: StageRun, processes: Processes) -> Mapping[str, Any]:
    if stage.config.train.processes != processes.count:
        raise UserError(
            f"train.processes={stage.config.train.processes}: torchrun started "
            f"{processes.count}; leave the setting out"
        )
    processes.hand_out(task_of(stage))
    try:
        return train(stage)
    except Exception as error:
        if processes.fails_first():
            raise
        raise SystemExit(2) from error  # another has said why


def _serve(processes: Processes) -> int:
    def job() -> None:
        for task in processes.tasks():
            train(stage_of(task))

    def say(line: str) -> None:
        if processes.fails_first():
            console.quiet = False
            console.print(f"moescope: {line}", markup=False, style="red", soft_wrap=True)

    return _guarded(job, fails=say)


def _guarded(job: Callable[[], None], fails: Callable[[str], None]) -> int:
    set_up(debug=False)
    try:
        job()
    except Terminated:
        return 143
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        line = printable(explain(error))
        get_error_handler().record_exception(UserError(line))
        fails(line)
        return 2
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(work(*sys.argv[1:]))
