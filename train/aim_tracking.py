"""Aim: hyper-parameters, tags, metrics with contexts, load distributions and figures.

Whatever goes wrong in Aim costs one warning; training goes on and metrics.jsonl has it all.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..configs.schema import Config
from .aim_writer import AimWriter, warn


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
