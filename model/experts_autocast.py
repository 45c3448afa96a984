"""Experts under autocast: their products take its dtype, as those of linear layers do.

Autocast does not know the grouped product. Handed float32 weights, the library multiplies in
float32, expert by expert, and reads the sizes of the groups back to the host for every product.
"""

from typing import Any

import torch
from torch import Tensor, nn


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """Return the dtype of the autocast that is on for `device`; None without one."""
    kind = device.type
    if not torch.amp.is_autocast_available(kind) or not torch.is_autocast_enabled(kind):
        return None
    return torch.get_autocast_dtype(kind)


class ExpertsInDtype:
    """An experts module as its forward functions see it, with its parameters in another dtype.

    The cast is part of the graph, so gradients arrive at the module's own parameters.
    """

    def __init__(self, experts: nn.Module, dtype: torch.dtype) -> None:
        self._experts, self._dtype = experts, dtype

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._experts, name)
        return value.to(self._dtype) if isinstance(value, Tensor) else value
