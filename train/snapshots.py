"""Weights kept on the way, to see when routing settles (E14)."""

import shutil
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from .checkpoints import SNAPSHOTS


class Snapshots(TrainerCallback):
    """Saves the weights, and nothing else, at `count` steps that divide training evenly."""

    def __init__(self, folder: Path, count: int) -> None:
        self._folder, self._count = folder / SNAPSHOTS, count

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        **kwargs: Any,
    ) -> None:
        if state.is_world_process_zero and state.global_step in self.steps(state.max_steps):
            partial = self._folder / ".partial"
            target = self._folder / f"step-{state.global_step}"
            shutil.rmtree(partial, ignore_errors=True)
            shutil.rmtree(target, ignore_errors=True)  # of a pass that was resumed from before it
            model.save_pretrained(partial)
            partial.rename(target)

    def steps(self, max_steps: int) -> set[int]:
        """Returns the inner ends of `count` + 1 equal parts of training."""
        ends = (round(max_steps * part / (self._count + 1)) for part in range(1, self._count + 1))
        return {step for step in ends if 0 < step < max_steps}
