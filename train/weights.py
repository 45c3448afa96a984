"""The weights of a model as one hash, and the only way that they come back from a checkpoint."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from .sealed import DamageError


def hash_weights(state: Mapping[str, Tensor]) -> str:
    """Hashes names, types, shapes and bytes of tensors (128 bits, hexadecimal)."""
    total = hashlib.blake2b(digest_size=16)
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def load_weights(model: nn.Module, folder: Path, expected: str) -> None:
    """Loads a checkpoint's weights into a model.

    Args:
        model: of the checkpoint's architecture.
        folder: holds the safetensors.
        expected: what the model's weights hash to when they were saved.

    Raises:
        DamageError: they do not hash to it: some are missing, or others than those that were saved.
    """
    for path in sorted(folder.glob("*.safetensors")):
        model.load_state_dict(load_file(path), strict=False)  # tied weights are stored once
    if hash_weights(model.state_dict()) != expected:
        raise DamageError(f"{folder}: its weights are not those that were saved")


def is_finite(model: nn.Module) -> bool:
    """Whether every weight is a number."""
    return all(bool(torch.isfinite(value).all()) for value in model.parameters())
