"""Aim: hyper-parameters, tags, metrics with contexts, load distributions and figures.

Whatever goes wrong in Aim costs one warning; training goes on and metrics.jsonl has it all.
"""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import Pipe
from typing import Any

import plotly.graph_objects as go
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..configs.progress import console
from ..configs.schema import Config

WRITER = (sys.executable, "-m", "moescope.train.aim_process")
PATIENCE_S = 60.0  # for one answer; it usually takes milliseconds


class AimWriter:
    """Aim in a process of its own: it may hang or die there (on a full disk it does both)."""

    def __init__(self) -> None:
        self._connection, theirs = Pipe()
        self._process = subprocess.Popen(
            [*WRITER, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for training, which then closes it
        )
        theirs.close()
        self._waiting = False

    def send(self, verb: str, value: Any = None) -> None:
        """Hands over one thing to do, once the one before it is done.

        Raises:
            OSError: the process failed, or has not answered in time.
        """
        self.answer()
        self._connection.send_bytes(json.dumps([verb, value]).encode())
        self._waiting = True

    def answer(self) -> Any:
        """Waits for the answer to what was handed over last; None where nothing was.

        Raises:
            OSError: the process failed, or has not answered in time.
        """
        if not self._waiting:
            return None
        if not self._connection.poll(PATIENCE_S):
            raise TimeoutError(f"no answer for {PATIENCE_S:.0f} s")
        try:
            error, value = json.loads(self._connection.recv_bytes())
        except EOFError as end:
            raise OSError("its process ended") from end
        self._waiting = False
        if error is not None:
            raise OSError(error)
        return value

    def end(self) -> None:
        """Ends the process, whatever it is doing."""
        self._connection.close()
        self._process.kill()
        self._process.wait()


class AimCallback(TrainerCallback):
    """Sends every metric record to an Aim run; goes quiet after the first failure."""

    def __init__(self, writer: AimWriter, run_hash: str) -> None:
        self._writer: AimWriter | None = writer
        self.run_hash = run_hash

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if logs is not None:
            self._send("track", logs)

    def set(self, key: str, value: Mapping[str, Any]) -> None:
        """Stores parameters or results under a name."""
        self._send("set", [key, dict(value)])

    def close(self) -> None:
        """Closes the run; nothing is sent afterwards."""
        self._send("close")
        if self._writer is not None:
            with self._said():
                self._writer.answer()
        if self._writer is not None:
            self._writer.end()
        self._writer = None

    def _send(self, verb: str, value: Any = None) -> None:
        if self._writer is not None:
            with self._said():
                self._writer.send(verb, value)

    @contextmanager
    def _said(self) -> Iterator[None]:
        """Turns a failure into one line, after which nothing is sent."""
        try:
            yield
        except (OSError, ValueError) as error:
            assert self._writer is not None
            self._writer.end()
            self._writer = None
            warn(error)


@contextmanager
def aim_run(config: Config, run_hash: str | None) -> Iterator[AimCallback | None]:
    """Opens the run's Aim record in `paths.runs`, again if it has a hash; None where Aim is off."""
    callback = open_run(config, run_hash) if config.tracking.name == "aim" else None
    try:
        yield callback
    finally:
        if callback is not None:
            callback.close()


def open_run(config: Config, run_hash: str | None) -> AimCallback | None:
    """Starts an Aim run with the resolved config as its parameters; None if Aim fails."""
    writer = AimWriter()
    wanted = {
        "runs": str(config.paths.runs.absolute()),
        "hash": run_hash,
        "name": config.name,
        "experiment": config.tracking.experiment,
        "tags": config.tracking.tags,
        "config": config.model_dump(mode="json"),
    }
    try:
        writer.send("open", wanted)
        return AimCallback(writer, writer.answer())
    except (OSError, ValueError) as error:
        writer.end()
        warn(error)
        return None


@contextmanager
def reopened_run(config: Config, run_hash: str) -> Iterator[Any | None]:
    """Opens an existing Aim run to add to it, its parameters as they are; None if Aim fails."""
    try:
        from aim import Run

        run = Run(
            run_hash,
            repo=str(config.paths.runs),
            log_system_params=False,
            capture_terminal_logs=False,
            system_tracking_interval=None,
        )
    except Exception as error:
        warn(error, "report: nothing is sent to Aim ({error!r})")
        yield None
        return
    try:
        yield run
    finally:
        run.close()


def send_report(
    config: Config,
    run_hash: str,
    *,
    figures: Iterable[tuple[str, Mapping[str, Any], go.Figure]],
    numbers: Iterable[tuple[str, Mapping[str, Any], float]],
    summary: Mapping[str, Any],
) -> None:
    """Puts a report's figures and numbers into the Aim run of its training; replaces earlier ones.

    Args:
        config: of the run.
        run_hash: of the Aim run.
        figures: (name, context, figure), data as plain lists: Aim's page reads no packed arrays.
        numbers: (name, context, value).
        summary: becomes the run's parameter `report`.
    """
    with reopened_run(config, run_hash) as run:
        if run is None:
            return
        try:
            from aim import Figure

            run.set("report", dict(summary), strict=False)
            for name, context, value in numbers:
                run.track(value, name=name, step=0, context=dict(context))
            for name, context, figure in figures:
                run.track(Figure(figure), name=name, step=0, context=dict(context))
        except Exception as error:
            warn(error, "report: Aim has part of the report only ({error!r})")


def warn(
    error: Exception,
    text: str = "train: Aim is off for this run ({error}); metrics go to metrics.jsonl",
) -> None:
    """Says that Aim failed, and what that costs."""
    console.print(text.format(error=error), markup=False, style="yellow", soft_wrap=True)
