"""The state of an optimizer as one process would write it, whatever the model is divided into.

`optimizer.pt` numbers parameters by group: first those with weight decay, then the others, each in
the model's order. Where a model is divided, torch names them instead.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)

from .processes import is_first

Groups = Sequence[Sequence[str]]
"""Names of the parameters of each group of a model that is not divided."""


def whole_optimizer_state(model: nn.Module, optimizer: Any, groups: Groups) -> dict[str, Any]:
    """Returns the state of a divided model's optimizer, in process 0; all call it together."""
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    named: dict[str, Any] = get_optimizer_state_dict(model, _inner(optimizer), options=options)
    if not is_first():
        return {}
    settings = {name: group for group in named["param_groups"] for name in group["params"]}
    names = [name for group in groups for name in group]
    state = {number: named["state"][name] for number, name in enumerate(names)}
    numbers = iter(range(len(names)))
    numbered = [
        settings[group[0]] | {"params": [next(numbers) for _ in group]} for group in groups if group
    ]
    return {"state": state, "param_groups": numbered}


def load_optimizer(model: nn.Module, optimizer: Any, groups: Groups, path: Path) -> None:
    """Gives a process its share of the state that was stored."""
    stored = torch.load(path, map_location="cpu", weights_only=True)
    names = [name for group in groups for name in group]
    state = {names[number]: value for number, value in stored["state"].items()}
    named = [
        group | {"params": [names[number] for number in group["params"]]}
        for group in stored["param_groups"]
    ]
    set_optimizer_state_dict(
        model,
        _inner(optimizer),
        {"state": state, "param_groups": named},
        options=StateDictOptions(full_state_dict=True),
    )


def _inner(optimizer: Any) -> torch.optim.Optimizer:
    """The optimizer in accelerate's wrapper."""
    inner: torch.optim.Optimizer = getattr(optimizer, "optimizer", optimizer)
    return inner
