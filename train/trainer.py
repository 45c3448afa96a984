"""The Trainer: balance losses scaled rightly, metrics without host reads, evaluation by token."""

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from accelerate.data_loader import prepare_data_loader
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import PrinterCallback, TrainingArguments
from transformers.utils.generic import maybe_autocast

from ..configs.errors import UserError
from ..configs.schema_train import Train
from ..data_processors.batching import BatchShare, BlankCollator, ExampleSampler
from ..data_processors.collate import CausalCollator, MaskingCollator
from ..data_processors.examples import ExampleDataset
from ..model import balance_losses
from .build import LanguageModel
from .checkpoints import CheckpointFolder, Record
from .metrics import (
    MetricSums,
    language_sums,
    routing_sums,
    summarise_language,
    summarise_layers,
    summarise_topics,
)
from .processes import together
from .resumable import ResumableTrainer

NOT_FOR_THE_MODEL = ("document_ids", "mask_kind")
NOT_FOR_A_DECODER = ("label_positions",)


class Topics(NamedTuple):
    """Which topic each validation document has."""

    names: Sequence[str]
    of_document: NDArray[np.integer]
    """(D,) topic id by document row."""


class Progress(NamedTuple):
    """What a resumed run had already done."""

    tokens: int = 0
    elapsed_s: float = 0.0


def length_sorted_batches(
    dataset: ExampleDataset, rows: NDArray[np.integer] | None, batch_size: int
) -> list[list[int]]:
    """Cuts examples, longest first, into batches; `rows` None = all."""
    rows = np.arange(len(dataset)) if rows is None else rows
    ordered = rows[np.argsort(-dataset.lengths[rows], kind="stable")]
    return [ordered[i : i + batch_size].tolist() for i in range(0, len(ordered), batch_size)]


class MoescopeTrainer(ResumableTrainer):
    """Trains on language-model loss plus balance losses.

    The language-model loss of an optimizer step is the mean over its labelled tokens, and each
    balance loss the mean over its real tokens: a micro-batch weighs by its share of them, so
    that gradient accumulation changes neither, nor does the number of processes (gradients are
    averaged over them). Metric records (docs/contracts.md) go to the callbacks' `on_log`.

    Args:
        settings: the `train` section.
        coefficients: balance loss name → coefficient, those above zero.
        balance_scope: whose load the balance losses of training see (`model.balance_losses`).
        topics: topics of the evaluation split's documents.
        eval_rows: which evaluation examples to score during training; None = all.
        progress: what earlier processes did, when resuming.
        checkpoints: where they are written; None = nowhere, for a trainer that only scores.
    """

    model: LanguageModel
    train_dataset: ExampleDataset
    eval_dataset: ExampleDataset
    data_collator: MaskingCollator | CausalCollator
    optimizer: torch.optim.Optimizer
    args: TrainingArguments
    loss_is_scaled_for_ga = True

    def __init__(
        self,
        *,
        settings: Train,
        coefficients: Mapping[str, float],
        balance_scope: Literal["local", "global"] = "local",
        topics: Topics,
        eval_rows: np.ndarray | None = None,
        progress: Progress | None = None,
        checkpoints: CheckpointFolder | None = None,
        **trainer: Any,
    ) -> None:
        super().__init__(settings=settings, checkpoints=checkpoints, **trainer)
        self.remove_callback(PrinterCallback)
        architecture = self.model.config
        self.is_causal = architecture.is_causal
        self.coefficients = dict(coefficients) if architecture.num_experts else {}
        self.balance_scope = balance_scope
        self.topics = topics
        self._topic_of_document = torch.tensor(
            topics.of_document, dtype=torch.int64, device=self.args.device
        )
        self._eval_rows = eval_rows
        self.layer_numbers = [
            i for i in range(architecture.num_hidden_layers) if architecture.is_moe_layer(i)
        ]
        self._sums = MetricSums()
        self._progress = progress or Progress()
        self._tokens = self._progress.tokens
        self._train_started = self._window_started = time.monotonic()

    def get_train_dataloader(self) -> DataLoader:
        """Deals out this process' share of every batch; no example is seen twice in an epoch."""
        rank, count = self.share
        examples = ExampleSampler(
            self.train_dataset,
            self.settings.batch_size * self.args.gradient_accumulation_steps * count,
            seed=self.args.seed,
            by_length=self.settings.group_by_length,
        )
        batches = BatchShare(examples, self.settings.batch_size, rank=rank, count=count)
        # shared out already; batches stay on the host until they are used, and are counted there
        return prepare_data_loader(
            self._loader(self.train_dataset, batches), num_processes=1, process_index=0
        )

    def _loader(self, dataset: ExampleDataset, batches: Iterable[list[int]]) -> DataLoader:
        return DataLoader(
            dataset,
            batch_sampler=batches,  # type: ignore[arg-type]
            collate_fn=BlankCollator(self.data_collator, dataset),
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
        )

    @property
    def share(self) -> tuple[int, int]:
        """Which part of every batch is this process', of how many; the whole where all see it."""
        if self.settings.parallel == "experts":
            return 0, 1
        return self.args.process_index, self.args.world_size

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Moves a batch to the device; from pinned memory without waiting."""
        wait = {"non_blocking": self.args.dataloader_pin_memory}
        return {name: value.to(self.args.device, **wait) for name, value in inputs.items()}

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Not tracked: the base class walks all parameters at every step for it."""
        return 0

    @property
    def tokens(self) -> int:
        """Real tokens trained on, in this process and those it resumed."""
        return self._tokens

    # -- training ---------------------------------------------------------------------------------

    def get_batch_samples(
        self, epoch_iterator: Iterator, num_batches: int, device: torch.device
    ) -> tuple[list, Tensor | int | None]:
        """Takes the batches of an optimizer step, and counts them over all processes."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        return batches, max(self._count(batches), 1)

    def _get_num_items_in_batch(self, *_: Any) -> None:
        """Nothing: `get_batch_samples` counts labels."""

    def _count(self, batches: Sequence[Mapping[str, Tensor]]) -> int:
        """Counts labels and tokens of a step over all processes, on the host; returns the labels.

        The same message carries whether any process was asked to stop.
        """
        own = [int(batch["attention_mask"].sum()) for batch in batches]
        labels = sum(len(batch["label_positions"]) for batch in batches)
        counts = torch.tensor([labels, int(self.preemption.asked), *own])
        if together():
            torch.distributed.all_reduce(counts)
        labels, asked, *tokens = counts.tolist()
        self.preemption.agreed = asked > 0
        shared = self.args.world_size // self.share[1]  # processes that see the same batch
        step_tokens = max(sum(tokens) // shared, 1)
        if self.balance_scope == "local":
            tokens = [number * self.args.world_size for number in own]
        self._step_tokens = step_tokens / self.share[1]
        self._batch_shares = [number / shared / step_tokens for number in tokens]
        return labels // shared

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        arguments = self._model_arguments(inputs) | {"output_logits": False}
        loss, outputs = super().compute_loss(model, arguments, True, num_items_in_batch)
        mask = inputs["attention_mask"]
        # losses and sums in float32 whatever the autocast
        with maybe_autocast(mask.device.type, enabled=False):
            balance = self._balance_losses(outputs, mask, self.balance_scope)
            share = self._batch_shares.pop(0)
            for name, coefficient in self.coefficients.items():
                loss = loss + share * coefficient * balance[name]
            num_labels = None if num_items_in_batch is None else num_items_in_batch / self.share[1]
            weight = share * self._step_tokens
            self._observe(inputs, outputs, num_labels)
            self._sums.add({f"balance/{name}": value * weight for name, value in balance.items()})
            self._sums.add({"lost_batches": (~torch.isfinite(loss)).long()})
        return (loss, outputs) if return_outputs else loss

    def _model_arguments(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        left_out = NOT_FOR_THE_MODEL + (NOT_FOR_A_DECODER if self.is_causal else ())
        arguments = {k: v for k, v in inputs.items() if k not in left_out}
        return arguments | {"output_routing": bool(self.layer_numbers)}

    @torch.no_grad()
    def _observe(
        self,
        inputs: Mapping[str, Tensor],
        outputs: Any,
        num_labels: Tensor | float | None,
    ) -> None:
        """Adds a training batch to the window's sums.

        Args:
            inputs: the batch.
            outputs: of the model; its loss is scaled for gradients that are averaged.
            num_labels: what its loss, the mean over the step's labels, is multiplied with.
        """
        mask, positions = inputs["attention_mask"], inputs["label_positions"]
        scale = 1 if num_labels is None else num_labels
        self._sums.add(
            {
                "loss": outputs.loss * scale,
                "labels": positions.new_full((), len(positions)),
                "correct": outputs.correct,
                "tokens": mask.sum(),
                **routing_sums(outputs.routing or (), mask),
            }
        )

    def _scored(self, logits: Tensor, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Scores (M, V) and targets (M,) of the labels."""
        labels, positions = inputs["labels"], inputs["label_positions"]
        if self.is_causal:  # a label is scored where the token before it stands
            logits = logits.flatten(0, 1)[positions - 1]
        return logits, labels.flatten()[positions]

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        super()._maybe_log_save_evaluate(*args, **kwargs)
        if self._sums.is_empty:  # just logged: what came after the log is not training time
            self._window_started = time.monotonic()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Turns the base class's window into a record; its other logs carry nothing of ours."""
        if "learning_rate" not in logs:
            return
        sums = self._host_sums(self._sums)
        now = time.monotonic()
        self._tokens += int(sums["tokens"])
        language = summarise_language(sums)
        if not math.isfinite(language["loss"]):
            at_once = self.args.gradient_accumulation_steps * self.share[1]
            lost = math.ceil(sums["lost_batches"] / at_once)  # steps: none after the first is left
            raise self._diverged("loss", language["loss"], self.state.global_step - lost + 1)
        norm = logs.get("grad_norm")
        if norm is not None and not math.isfinite(norm):  # the weights are lost with it
            raise self._diverged("gradient's norm", norm, self.state.global_step)
        self._emit(
            "train",
            {
                **language,
                "balance": self._balance(sums),
                "learning_rate": logs["learning_rate"],
                "tokens_per_s": float(sums["tokens"]) / max(now - self._window_started, 1e-9),
                "grad_norm": norm,
                "layers": summarise_layers(sums, self.layer_numbers),
            },
        )

    def _diverged(self, what: str, value: float, step: int) -> UserError:
        return UserError(
            f"train: the {what} is {value} at step {step:,}; lower "
            f"train.learning_rate={self.settings.learning_rate:g}, raise "
            f"train.warmup={self.settings.warmup:g} or lower "
            f"train.max_grad_norm={self.settings.max_grad_norm:g}"
        )

    def _balance_losses(
        self, outputs: Any, mask: Tensor, scope: Literal["local", "global"]
    ) -> dict[str, Tensor]:
        """Unweighted losses; evaluation is "local": its processes may have unequal batches."""
        return balance_losses(
            outputs.routing or (),
            mask,
            list(self.coefficients),
            experts=self.model.expert_modules(),
            scope=scope,
        )

    def _balance(self, sums: Mapping[str, np.ndarray]) -> dict[str, float]:
        return {name: float(sums[f"balance/{name}"] / sums["tokens"]) for name in self.coefficients}

    def _host_sums(self, sums: MetricSums) -> dict[str, np.ndarray]:
        return sums.to_host(self.accelerator.reduce if self.share[1] > 1 else None)

    def _emit(self, split: str, figures: Mapping[str, Any]) -> None:
        elapsed = self._progress.elapsed_s + time.monotonic() - self._train_started
        record = {
            "split": split,
            "step": self.state.global_step,
            "epoch": self.state.epoch,
            "tokens": self._tokens,
            "elapsed_s": round(elapsed, 3),
            **figures,
        }
        self.control = self.callback_handler.on_log(self.args, self.state, self.control, record)

    # -- evaluation -------------------------------------------------------------------------------

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Scores the rows chosen for training-time evaluation and emits a validation record."""
        figures = self.score(eval_dataset or self.eval_dataset, self._eval_rows)
        if not math.isfinite(figures["loss"]):
            step = self.state.global_step
            raise self._diverged("validation loss", figures["loss"], step)
        self._last_loss = (self.state.global_step, figures["loss"])
        self._emit("validation", figures)
        metrics = {f"{metric_key_prefix}_loss": figures["loss"]}
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def measure(self, best: Record) -> Record:
        """Scores a checkpoint anew: its loss is that of other evaluation examples."""
        self.load(best.step)
        return best.model_copy(
            update={"loss": self.score(self.eval_dataset, self._eval_rows)["loss"]}
        )

    @torch.no_grad()
    def score(self, dataset: Any, rows: np.ndarray | None = None) -> dict[str, Any]:
        """Evaluates examples under their fixed masks; every mean is over tokens, not batches.

        Args:
            dataset: the split, with fixed masks.
            rows: which examples; None = all.
        """
        self.model.eval()
        sums = MetricSums()
        rank, count = self.share
        batches = length_sorted_batches(dataset, rows, self.args.per_device_eval_batch_size)
        batches += [[]] * (-len(batches) % count)  # equally many for each process
        for batch in self._loader(dataset, batches[rank::count]):
            sums.add(self._score_batch(self._prepare_inputs(batch)))
        host = self._host_sums(sums)
        return {
            **summarise_language(host),
            "balance": self._balance(host),
            "layers": summarise_layers(host, self.layer_numbers),
            "topics": summarise_topics(host, self.topics.names),
        }

    def _score_batch(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        mask, positions = inputs["attention_mask"], inputs["label_positions"]
        arguments = self._model_arguments(inputs)
        del arguments["labels"]
        outputs = self.model(**arguments)
        logits, targets = self._scored(outputs.logits, inputs)
        topics = self._topic_of_document[inputs["document_ids"].flatten()[positions]]
        tokens = mask.sum()
        balance = self._balance_losses(outputs, mask, "local")
        return {
            **language_sums(logits, targets, topics, len(self.topics.names), coarse=self.args.bf16),
            **routing_sums(outputs.routing or (), mask),
            **{f"balance/{name}": value * tokens for name, value in balance.items()},
            "tokens": tokens,
        }
