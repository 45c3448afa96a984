"""A Trainer whose checkpoints are whole, and whose best weights are found by name and by hash."""

import math
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from transformers import EarlyStoppingCallback, Trainer, TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import ExportableState

from ..configs.errors import UserError
from ..configs.schema_train import Train
from .arguments import learning_rate_factor
from .build import LanguageModel
from .checkpoints import Checkpoint, CheckpointFolder, Record
from .weights import hash_weights, is_finite, load_weights


class ResumableTrainer(Trainer):
    """Saves and resumes through a `CheckpointFolder`.

    The base class stores the best checkpoint as an absolute path, and only warns when nothing is
    there any more; here it is a step.

    Args:
        settings: the `train` section.
        checkpoints: where they are written; None = nowhere, for a trainer that only scores.
    """

    model: LanguageModel
    args: TrainingArguments
    optimizer: torch.optim.Optimizer

    def __init__(
        self, *, settings: Train, checkpoints: CheckpointFolder | None, **trainer: Any
    ) -> None:
        super().__init__(**trainer)
        self.settings = settings
        self._checkpoints = checkpoints
        self._resumed: Checkpoint | None = None
        self._last_loss = math.inf  # of the last evaluation

    def fit(self, resume: Checkpoint | None) -> None:
        """Trains to the end, from a checkpoint if there is one, and takes the best weights."""
        self._resumed = resume
        self.train(resume_from_checkpoint=None if resume is None else str(resume.folder))
        self.load(self.state.best_global_step or self.state.global_step)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Takes over the state of a run that had finished training, and its best weights."""
        self.state = TrainerState.load_from_json(str(checkpoint.folder / TRAINER_STATE_NAME))
        self._set_best(checkpoint.best)
        self.load(checkpoint.best.step)

    def load(self, step: int) -> None:
        """Loads a checkpoint's weights and makes sure that they are those that were saved.

        Scores are then in the precision of training, although this process may not have trained.

        Raises:
            UserError: the checkpoint is damaged, or a weight is not finite.
        """
        assert self._checkpoints is not None
        folder, record = self._checkpoints.best(step)
        load_weights(self.model, folder, record.weights)
        if not is_finite(self.model):
            raise UserError(f"{folder}: a weight is not finite; force=true starts afresh")
        if not self.accelerator._models:  # preparing puts the autocast around `forward`
            self.accelerator.prepare_model(self.model, evaluation_mode=True)

    def _set_best(self, best: Record) -> None:
        state: Any = self.state  # its fields are None at first
        state.best_global_step, state.best_metric = best.step, best.loss

    def _init_training_state(self, max_steps: int, *arguments: Any) -> tuple[int, int]:
        trained = super()._init_training_state(max_steps, *arguments)
        if self._resumed is not None:
            self._set_best(self._resumed.best)
            self.state.compute_steps(self.args, max_steps)  # the checkpoint's may be others
            self.control.should_training_stop = False
            for callback in self.callback_handler.callbacks:
                if isinstance(callback, EarlyStoppingCallback):
                    callback.early_stopping_patience = self.settings.early_stopping  # type: ignore[assignment]
        return trained

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        # the checkpoint holds the rate of its own number of steps, which may now be another
        schedule = self.lr_scheduler
        assert schedule is not None
        assert self.optimizer is not None
        factor = schedule.lr_lambdas[0](schedule.last_epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        schedule._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Writes a whole checkpoint or none, with hashes; no path in it is absolute."""
        assert self._checkpoints is not None
        step = self.state.global_step
        with self._checkpoints.saving(step) as folder:
            self.save_model(str(folder), _internal_call=True)
            self._save_optimizer_and_scheduler(str(folder))
            self._save_scaler(str(folder))
            self._save_rng_state(str(folder))
            self._export_callbacks()
            self.state.save_to_json(str(folder / TRAINER_STATE_NAME))
            self._checkpoints.finish(
                folder,
                step=step,
                loss=self._last_loss,
                best_step=self.state.best_global_step or step,
                ended=self.control.should_training_stop,
                weights=hash_weights(self.model.state_dict()),
            )

    def _export_callbacks(self) -> None:
        """Puts the state of early stopping, and the control's, into what is saved."""
        kept: Any = self.state.stateful_callbacks  # a dict by now, whatever its declaration says
        for callback in [*self.callback_handler.callbacks, self.control]:
            if isinstance(callback, ExportableState):
                kept[type(callback).__name__] = callback.state()

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """Writes weights and config alone; the base class adds a pickle of its arguments."""
        self.model.save_pretrained(str(output_dir), state_dict=state_dict)

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> LambdaLR:
        self.lr_scheduler = LambdaLR(
            optimizer or self.optimizer,
            lambda step: learning_rate_factor(step, num_training_steps, self.settings),
        )
        self._created_lr_scheduler = True
        return self.lr_scheduler
