"""The `train` section in transformers' terms, and the learning-rate schedule."""

import math
from typing import Literal

import torch
from transformers import TrainingArguments
from transformers.utils import is_flash_attn_2_available, is_torch_tf32_available

from ..configs.errors import UserError
from ..configs.schema import Config
from ..configs.schema_train import Train


def device_of(settings: Train) -> str:
    """Resolves `train.device`.

    Raises:
        UserError: PyTorch sees no such device.
    """
    seen = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    found = [name for name, is_there in seen.items() if is_there]
    if settings.device == "auto":
        return found[0]
    if settings.device not in found:
        raise UserError(
            f"train.device={settings.device}: PyTorch sees no such device here; "
            f"choose {' or '.join(found)}, or auto"
        )
    return settings.device


def check_machine(settings: Train) -> None:
    """Refuses a device that is not there and an attention that cannot train on it.

    Raises:
        UserError: names the setting, and what would be accepted.
    """
    device, kind = device_of(settings), settings.attention
    if kind not in ("flex_attention", "flash_attention_2"):
        return
    if device != "cuda":
        raise UserError(f"train.attention={kind} trains on CUDA only, not on {device}; choose sdpa")
    if kind == "flash_attention_2" and precision_of(settings) != "bf16":
        raise UserError(
            f"train.attention={kind} computes in bf16; set train.precision=bf16, or choose sdpa"
        )
    if kind == "flash_attention_2" and not is_flash_attn_2_available():
        raise UserError(f"train.attention={kind}: install flash-attn, or choose sdpa")


def precision_of(settings: Train) -> Literal["fp32", "bf16"]:
    """Resolves `train.precision`: auto is bf16 where the GPU has it."""
    if settings.precision != "auto":
        return settings.precision
    on_cuda = device_of(settings) == "cuda"
    return "bf16" if on_cuda and torch.cuda.is_bf16_supported() else "fp32"


def training_arguments(config: Config, precision: str | None = None) -> TrainingArguments:
    """Translates the `train` section into transformers' arguments.

    Args:
        config: of the run.
        precision: "fp32" or "bf16"; None = what `train.precision` says here.
    """
    settings = config.train
    device = device_of(settings)
    on_cuda = device == "cuda"
    arguments = TrainingArguments(
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
        bf16=(precision or precision_of(settings)) == "bf16",
        use_cpu=device == "cpu",  # or bf16 wants a GPU
        tf32=settings.tf32 if on_cuda and is_torch_tf32_available() else None,
        activation_checkpointing=settings.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False},
        torch_compile=settings.compile,
        logging_steps=settings.log_every,
        logging_nan_inf_filter=False,  # it reads the loss back at every step
        eval_strategy="steps",
        eval_steps=settings.eval_every,
        save_strategy="steps",
        save_steps=settings.eval_every,
        load_best_model_at_end=True,  # early stopping asks for it; `ResumableTrainer` does it
        metric_for_best_model="loss",
        greater_is_better=False,
        restore_callback_states_from_checkpoint=True,
        dataloader_num_workers=settings.num_workers,
        dataloader_pin_memory=on_cuda,
        remove_unused_columns=False,
        report_to="none",
        disable_tqdm=True,
        log_level="error",
        log_level_replica="error",
        seed=config.seed,
        ddp_broadcast_buffers=False,  # routers count their own tokens in them
        ddp_find_unused_parameters=False,  # every parameter is in every step's graph
        # the Trainer's word for a divided model, whose optimizer it does not save; we do
        save_only_model=settings.processes > 1 and settings.parallel != "ddp",
    )
    if arguments.n_gpu > 1:  # or the Trainer takes DataParallel, which splits flat positions
        arguments._n_gpu = 1
    return arguments


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
