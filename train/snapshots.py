"""Weights kept on the way, to see when routing settles (E14)."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from configs.manifest import Manifest, digest

from .checkpoints import OWNER_FILE, Owner, step_of

FOLDER = "snapshots"


class Snapshots(TrainerCallback):
    """Saves the weights, and nothing else, at `count` steps that divide training evenly."""

    def __init__(self, folder: Path, count: int) -> None:
        self._folder, self._count = folder / FOLDER, count

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


def weights_hash(sections: Mapping[str, Any]) -> str:
    """Hashes what decides the weights: the train stage's config without the number of workers."""
    train = {name: value for name, value in sections["train"].items() if name != "num_workers"}
    return digest({**sections, "train": train})


def find_snapshots(checkpoints: Path, model: Manifest) -> dict[int, Path]:
    """Finds the snapshots that led to a finished model: step → folder, in order.

    Args:
        checkpoints: the run's `checkpoints/`; it may belong to another, newer training by now.
        model: the manifest of `model/`.

    Returns:
        {} where there are none of this model's.
    """
    try:
        owner = Owner.model_validate_json((checkpoints / OWNER_FILE).read_text(encoding="utf-8"))
    except (OSError, ValidationError, UnicodeDecodeError):
        return {}
    if not owner.finished or owner.config_hash != weights_hash(model.config):
        return {}
    folders = {step_of(path): path for path in (checkpoints / FOLDER).glob("step-*")}
    return dict(sorted(folders.items()))
