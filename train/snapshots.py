"""Weights kept on the way, to see when routing settles (E14)."""

import shutil
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..configs.whole_files import sync_folder
from .checkpoints import FIELD, RECORD_FILE, SNAPSHOTS
from .disk import writing_below
from .sealed import Contents
from .weights import whole_model


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
        if state.global_step not in self.steps(state.max_steps):
            return
        model = whole_model(model)
        if state.is_world_process_zero:
            with writing_below(self._folder.parent, FIELD):
                self._save(model, self._folder / f"step-{state.global_step}")

    def _save(self, model: Any, target: Path) -> None:
        """Writes a snapshot that is whole or not there."""
        partial = self._folder / ".partial"
        shutil.rmtree(partial, ignore_errors=True)
        model.save_pretrained(partial)
        Contents().seal_folder(partial, RECORD_FILE)
        shutil.rmtree(target, ignore_errors=True)  # of a pass that was resumed from before it
        partial.rename(target)
        sync_folder(self._folder)

    def steps(self, max_steps: int) -> set[int]:
        """Returns the inner ends of `count` + 1 equal parts of training."""
        ends = (round(max_steps * part / (self._count + 1)) for part in range(1, self._count + 1))
        return {step for step in ends if 0 < step < max_steps}
