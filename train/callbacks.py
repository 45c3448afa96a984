"""What happens beside the training step: metric lines, the console, state without gradients."""

import json
import signal
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..configs.progress import Advance, console, progress_bar
from .checkpoints import FIELD
from .disk import writing_below


class MetricWindows(TrainerCallback):
    """Closes a metric window wherever a checkpoint may be taken, so that resuming is exact."""

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        if control.should_evaluate or control.should_save:
            control.should_log = True
        return control


class Preemption(TrainerCallback):
    """Ends training with a checkpoint where SIGTERM comes; a context manager around training.

    The trainer asks all processes once per step (`asked`), so that they `agreed` on the last one.
    """

    def __init__(self) -> None:
        self.asked = self.agreed = False
        self._before: Any = None

    def __enter__(self) -> "Preemption":
        self.asked = self.agreed = False
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._ask)
        return self

    def __exit__(self, *error: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
        self._before = None

    def _ask(self, *_: object) -> None:
        self.asked = True

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        if self.agreed:
            control.should_save = control.should_log = control.should_training_stop = True
        return control


class RouterState(TrainerCallback):
    """Moves router state that no gradient trains, after each optimizer step."""

    def on_optimizer_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        **kwargs: Any,
    ) -> None:
        model.after_optimizer_step()


class MetricsFile(TrainerCallback):
    """Appends every record to metrics.jsonl."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if state.is_world_process_zero:
            line = json.dumps(logs) + "\n"
            with (
                writing_below(self._path.parent, FIELD),
                self._path.open("a", encoding="utf-8") as stream,
            ):
                stream.write(line)


class ConsoleProgress(TrainerCallback):
    """A progress bar while training, and a line per evaluation; a context manager."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._advance: Advance | None = None
        self._train: dict[str, Any] = {}
        self._validation = "-"

    def __enter__(self) -> "ConsoleProgress":
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._advance = self._open.enter_context(progress_bar("train", state.max_steps, "steps"))
        self._advance(state.global_step)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._open.close()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        assert self._advance is not None
        self._advance()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        assert logs is not None
        assert self._advance is not None
        if logs["split"] == "train":
            self._train = logs
        else:
            self._validation = f"{logs['loss']:.3f}"
        loss, rate = self._train.get("loss", float("nan")), self._train.get("tokens_per_s", 0)
        figures = f"loss {loss:.3f}, validation {self._validation}, {rate:,.0f} tokens/s"
        self._advance.update(figures)
        if logs["split"] == "validation" and state.is_world_process_zero:
            console.print(
                f"train: step {state.global_step:,} of {state.max_steps:,}: {figures}",
                soft_wrap=True,
            )
