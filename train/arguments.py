"""The `train` section in transformers' terms, and the learning-rate schedule."""

import math

import torch
from transformers import TrainingArguments

from ..configs.schema import Config
from ..configs.schema_train import Train


def training_arguments(config: Config) -> TrainingArguments:
    """Translates the `train` section into transformers' arguments."""
    settings = config.train
    on_cuda = torch.cuda.is_available()
    bf16 = settings.precision == "bf16" or (
        settings.precision == "auto" and on_cuda and torch.cuda.is_bf16_supported()
    )
    return TrainingArguments(
        output_dir=str(config.paths.checkpoints),
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=2 * settings.batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation,
        num_train_epochs=settings.epochs,
        max_steps=settings.max_steps or -1,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        adam_beta2=settings.adam_beta2,
        max_grad_norm=settings.max_grad_norm,
        optim="adamw_torch_fused",
        bf16=bf16,
        torch_compile=settings.compile,
        logging_steps=settings.log_every,
        logging_nan_inf_filter=False,  # it reads the loss back at every step
        eval_strategy="steps",
        eval_steps=settings.eval_every,
        save_strategy="steps",
        save_steps=settings.eval_every,
        save_total_limit=1,  # and the best
        load_best_model_at_end=True,
        metric_for_best_model="loss",
        greater_is_better=False,
        restore_callback_states_from_checkpoint=True,
        dataloader_num_workers=settings.num_workers,
        dataloader_pin_memory=on_cuda,
        remove_unused_columns=False,
        report_to="none",
        disable_tqdm=True,
        log_level="error",
        seed=config.seed,
    )


def learning_rate_factor(step: int, total: int, settings: Train) -> float:
    """Share of the peak learning rate at a step: linear warm-up, then decay to the floor."""
    warmup = math.ceil(settings.warmup * total)
    if step < warmup:
        return (step + 1) / warmup
    if settings.schedule == "constant":
        return 1.0
    done = min((step - warmup) / max(total - warmup, 1), 1.0)
    decay = 1 - done if settings.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
    return settings.floor + (1 - settings.floor) * decay
