"""A Trainer whose checkpoints are whole, and whose best weights are found by name and by hash."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.distributed.tensor import DTensor
from torch.optim.lr_scheduler import LambdaLR
from transformers import EarlyStoppingCallback, Trainer, TrainerState, TrainingArguments
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME, TRAINER_STATE_NAME
from transformers.trainer_callback import ExportableState

from ..configs.errors import Terminated, UserError
from ..configs.progress import console
from ..configs.schema_train import Train
from .arguments import learning_rate_factor
from .build import LanguageModel
from .callbacks import Preemption
from .checkpoints import Checkpoint, CheckpointFolder, Record
from .optimizer_state import load_optimizer, whole_optimizer_state
from .processes import is_first, wait_for_all
from .sharding import is_sharded
from .weights import hash_weights, is_finite, load_weights, whole_model


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
        self._last_loss: tuple[int, float] | None = None  # step and loss of the last evaluation
        self.preemption = Preemption()
        self.add_callback(self.preemption)

    def fit(self, resume: Checkpoint | None) -> None:
        """Trains to the end, from a checkpoint if there is one, and takes the best weights.

        Raises:
            Terminated: SIGTERM came, and a checkpoint was written.
        """
        self._resumed = resume
        with self.preemption:
            self.train(resume_from_checkpoint=None if resume is None else str(resume.folder))
        step = self.state.global_step
        if self.preemption.agreed and step < self.state.max_steps:
            console.print(f"train: SIGTERM: the checkpoint of step {step:,} is written")
            raise Terminated
        self.load(self.state.best_global_step or step)

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

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        assert self._resumed is not None
        load_weights(self.model, Path(resume_from_checkpoint), self._resumed.record.weights)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        if is_sharded(self.model) and (Path(checkpoint) / OPTIMIZER_NAME).is_file():
            path = Path(checkpoint) / OPTIMIZER_NAME
            load_optimizer(self.model, self.optimizer, self._groups(), path)
            state = torch.load(Path(checkpoint) / SCHEDULER_NAME, weights_only=True)
            self.lr_scheduler.load_state_dict(state)  # type: ignore[union-attr]
        else:
            super()._load_optimizer_and_scheduler(checkpoint)
        # the checkpoint holds the rate of its own number of steps, which may now be another
        schedule = self.lr_scheduler
        assert schedule is not None
        assert self.optimizer is not None
        factor = schedule.lr_lambdas[0](schedule.last_epoch)
        # a divided model has other groups of parameters
        schedule.base_lrs = [group["initial_lr"] for group in self.optimizer.param_groups]
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        schedule._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Writes a whole checkpoint or none, with hashes; no path in it is absolute."""
        assert self._checkpoints is not None
        step = self.state.global_step
        measured = self._last_loss is not None and self._last_loss[0] == step
        whole = whole_model(self.model)
        if is_sharded(self.model):
            optimizer = whole_optimizer_state(self.model, self.optimizer, self._groups())
        else:
            optimizer = dict(self.optimizer.state_dict())
        with self._checkpoints.saving(step) as folder:
            self._save_rng_state(str(folder))
            if is_first():
                whole.save_pretrained(str(folder))
                torch.save(optimizer, folder / OPTIMIZER_NAME)
                torch.save(self.lr_scheduler.state_dict(), folder / SCHEDULER_NAME)  # type: ignore[union-attr]
                self._export_callbacks()
                self.state.save_to_json(str(folder / TRAINER_STATE_NAME))
            wait_for_all()  # what all have written is sealed
            if is_first():
                self._checkpoints.finish(
                    folder,
                    step=step,
                    loss=self._last_loss[1] if self._last_loss and measured else None,
                    best_step=self.state.best_global_step or step,
                    ended=self.control.should_training_stop and not self.preemption.agreed,
                    weights=hash_weights(whole.state_dict()),
                )
        wait_for_all()  # nobody looks for it before it has its name

    def _groups(self) -> list[list[str]]:
        """Names of the parameters with weight decay and without, as the optimizer groups them."""
        decayed = {*self.get_decay_parameter_names(self.model)}
        names = [name for name, _ in self.model.named_parameters()]
        return [[n for n in names if n in decayed], [n for n in names if n not in decayed]]

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Goes on with this process' random numbers, or with new ones where it had none."""
        if checkpoint is None:
            return
        alone, index = self.args.world_size == 1, self.args.process_index
        name = "rng_state.pth" if alone else f"rng_state_{index}.pth"
        shared = self.settings.parallel == "experts" and not alone  # of all processes, the same
        if (Path(checkpoint) / name).is_file() and not shared:
            super()._load_rng_state(checkpoint)
        else:
            seed = (self.args.seed, self.state.global_step, 0 if shared else index)
            torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))

    def _export_callbacks(self) -> None:
        """Puts the state of early stopping, and the control's, into what is saved."""
        kept: Any = self.state.stateful_callbacks  # a dict by now, whatever its declaration says
        for callback in [*self.callback_handler.callbacks, self.control]:
            if isinstance(callback, ExportableState):
                kept[type(callback).__name__] = callback.state()

    def _build_accelerator_args(self, **named: Any) -> dict[str, Any]:
        """Keeps accelerate from dealing out batches to groups: we do, and it could not on CPUs."""
        arguments = super()._build_accelerator_args(**named)
        arguments.pop("parallelism_config", None)
        return arguments

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm)
        return norm.full_tensor() if isinstance(norm, DTensor) else norm

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> LambdaLR:
        self.lr_scheduler = LambdaLR(
            optimizer or self.optimizer,
            lambda step: learning_rate_factor(step, num_training_steps, self.settings),
        )
        self._created_lr_scheduler = True
        return self.lr_scheduler
