"""The weights of a model, whole: as one hash, and as they go into a checkpoint and come back.

A model may be divided among processes (`sharding.py`). What is stored never is.
"""

import copy
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    set_model_state_dict,
)

from ..model import MoescopeForCausalLM, MoescopeForMaskedLM
from .processes import from_first, is_first
from .sealed import DamageError
from .sharding import is_sharded

WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
TO_SHARES = StateDictOptions(full_state_dict=True, strict=False)  # tied weights are stored once


def hash_weights(state: Mapping[str, Tensor]) -> str:
    """Hashes names, types, shapes and bytes of tensors (128 bits, hexadecimal)."""
    total = hashlib.blake2b(digest_size=16)
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def whole_model(model: Any) -> Any:
    """Returns the model; of one that is divided a whole copy on the host, in process 0 alone.

    All processes call it together.
    """
    if not is_sharded(model):
        return model
    state = get_model_state_dict(model, options=WHOLE)  # {} but in process 0
    if not is_first():
        return model
    config = copy.deepcopy(model.config)
    del config.distributed_config
    kind = MoescopeForCausalLM if config.is_causal else MoescopeForMaskedLM
    whole = kind(config)
    whole.load_state_dict(state)
    return whole


def load_weights(model: nn.Module, folder: Path, expected: str) -> None:
    """Loads a checkpoint's weights into a model; every process reads them.

    Args:
        model: of the checkpoint's architecture.
        folder: holds the safetensors.
        expected: what the model's weights hash to when they were saved.

    Raises:
        DamageError: they do not hash to it: some are missing, or others than those that were saved.
    """
    for path in sorted(folder.glob("*.safetensors")):
        if is_sharded(model):
            held: dict[str, Any] = dict(load_file(path))
            set_model_state_dict(model, held, options=TO_SHARES)
        else:
            model.load_state_dict(load_file(path), strict=False)  # tied weights are stored once
    whole = whole_model(model)
    if from_first(hash_weights(whole.state_dict()) if is_first() else None) != expected:
        raise DamageError(f"{folder}: its weights are not those that were saved")


def is_finite(model: nn.Module) -> bool:
    """Whether every weight is a number."""
    return all(bool(torch.isfinite(value).all()) for value in model.parameters())
