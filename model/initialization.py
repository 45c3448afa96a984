"""Weight initialisation by `config.init_scheme`.

"truncated_normal": std `initializer_range`, cut at 3 std; projections into the residual stream
(`o_proj`, `down_proj`) divided by sqrt(2 layers), as GPT-2 and ModernBERT do, so that the
residual's variance does not grow with depth. "normal": untruncated, no depth scaling (BERT).
"switch": truncated normal of std sqrt(0.1 / fan-in), the reduced scale that Switch (arXiv
2101.03961, section 2.4) found to stabilise sparse training; embeddings keep `initializer_range`.
"""

import math
from typing import Any

from torch import Tensor, nn
from transformers import initialization as init

from .routing import Router

RESIDUAL_PROJECTIONS = ("o_proj", "down_proj")


def init_matrix(weight: Tensor, config: Any, *, residual: bool) -> None:
    """Fill a (..., out, in) matrix in place unless it was loaded from a checkpoint."""
    std = config.initializer_range
    if config.init_scheme == "normal":
        init.normal_(weight, std=std)
        return
    if config.init_scheme == "switch":
        std = math.sqrt(0.1 / weight.shape[-1])
    elif residual:
        std = std / math.sqrt(2 * config.num_hidden_layers)
    init.trunc_normal_(weight, std=std, a=-3 * std, b=3 * std)


def init_module(module: nn.Module, config: Any) -> None:
    """Initialise the parameters that belong to `module` itself or to its linear children."""
    if isinstance(module, Router):
        for parameter in module.parameters(recurse=False):
            init_matrix(parameter, config, residual=False)
        module.init_buffers()
    elif isinstance(module, nn.Embedding):
        _init_embedding(module, config)
    elif isinstance(module, nn.Linear):
        init_matrix(module.weight, config, residual=False)
    if not isinstance(module, nn.Linear | nn.Embedding | Router):
        _init_projections(module, config)


def _init_embedding(module: nn.Embedding, config: Any) -> None:
    std = config.initializer_range
    if config.init_scheme != "normal":
        init.trunc_normal_(module.weight, std=std, a=-3 * std, b=3 * std)
    loaded = getattr(module.weight, "_is_hf_initialized", False)
    if module.padding_idx is not None and not loaded:
        init.zeros_(module.weight[module.padding_idx])


def _init_projections(module: nn.Module, config: Any) -> None:
    """Experts' 3-D weights, and the residual projections, which only their parent knows."""
    for name, parameter in module.named_parameters(recurse=False):
        if name.endswith("_proj"):
            init_matrix(parameter, config, residual=name in RESIDUAL_PROJECTIONS)
        elif name.endswith("_proj_bias"):
            init.zeros_(parameter)
    for name in RESIDUAL_PROJECTIONS:
        child = getattr(module, name, None)
        if isinstance(child, nn.Linear):
            init_matrix(child.weight, config, residual=True)
