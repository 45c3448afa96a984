"""How much memory there is, and how much of it a checkpoint takes."""

from collections.abc import Iterable
from pathlib import Path

import psutil
import torch
from safetensors import safe_open
from transformers.modeling_utils import str_to_torch_dtype as DTYPES

CGROUP = Path("/sys/fs/cgroup")  # a container's limit, where it has one
GB = 10**9


def free_memory(device: torch.device) -> int:
    """Returns the bytes that a process can still take on a device."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = int(psutil.virtual_memory().available)
    try:
        limit = int((CGROUP / "memory.max").read_text(encoding="ascii"))
        free = min(free, limit - int((CGROUP / "memory.current").read_text(encoding="ascii")))
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        pass
    return max(free, 0)


def weights_in_memory(files: Iterable[Path], dtype: torch.dtype | None) -> int:
    """Returns the bytes that stored weights take in memory.

    Args:
        files: in safetensors.
        dtype: what floating weights become; None = as they are stored.
    """
    total = 0
    for file in files:
        with safe_open(file, "pt") as opened:
            for key in opened.keys():  # noqa: SIM118  (no mapping)
                part = opened.get_slice(key)
                stored = DTYPES.get(part.get_dtype(), torch.uint8)
                kept = dtype if dtype is not None and stored.is_floating_point else stored
                total += torch.Size(part.get_shape()).numel() * kept.itemsize
    return total
