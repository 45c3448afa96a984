"""Records the experts and weights that every experts module is called with.

This is the choice that was made; nothing is derived from logits again.
"""

import re
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ...configs.errors import UserError


def find_experts(model: nn.Module) -> dict[int, nn.Module]:
    """Finds the experts modules: layer number → module, in order.

    An experts module has `num_experts` and keeps its weights in 3-D parameters, one of them
    `down_proj`; every transformers MoE with the experts interface does. The layer number is the
    last number in the module's name ("model.layers.3.mlp.experts" is layer 3).
    """
    found: dict[int, nn.Module] = {}
    for name, module in model.named_modules():
        weights = getattr(module, "down_proj", None)
        is_experts = isinstance(getattr(module, "num_experts", None), int)
        if is_experts and isinstance(weights, nn.Parameter) and weights.dim() == 3:
            numbers = re.findall(r"(?<=\.)\d+(?=\.|$)", f".{name}")
            found[int(numbers[-1]) if numbers else len(found)] = module
    return dict(sorted(found.items()))


class RoutingCapture:
    """Hooks the experts modules of a model while it is open (a context manager).

    After each forward pass `take` returns that pass's choices and forgets them.

    Raises:
        UserError: the model has no experts, or its layers differ in their number.
    """

    def __init__(self, model: nn.Module) -> None:
        experts = find_experts(model)
        if not experts:
            raise UserError(
                f"{type(model).__name__}: a dense model has no experts, so there is no routing to "
                "record; train with model.num_experts above 0 or name a MoE checkpoint"
            )
        counts = {int(module.num_experts) for module in experts.values()}  # type: ignore[arg-type]
        if len(counts) > 1:
            raise UserError(
                f"{type(model).__name__}: layers have different numbers of experts "
                f"({', '.join(map(str, sorted(counts)))}); the routing store needs one number"
            )
        self.layers = list(experts)
        self.num_experts = counts.pop()
        self._modules = list(experts.values())
        self._choices: list[tuple[Tensor, Tensor] | None] = [None] * len(experts)
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> "RoutingCapture":
        for index, module in enumerate(self._modules):
            self._handles.append(
                module.register_forward_pre_hook(self._hook(index), with_kwargs=True)
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def take(self, real_rows: Tensor, num_positions: int) -> tuple[Tensor, Tensor]:
        """Returns (experts (N, L, k) int64, weights (N, L, k)) of the last forward pass.

        Slots go by weight, so the first choice comes first; empty ones (E) are last.

        Args:
            real_rows: (N,) flat index of every real token in the batch of B x S positions, in
                order, on the model's device.
            num_positions: B x S. A model hands its experts either all positions or the real
                tokens alone.
        """
        taken = [choice for choice in self._choices if choice is not None]
        assert len(taken) == len(self._modules), "an experts module did not run"
        self._choices = [None] * len(self._modules)
        device = real_rows.device  # a model may be spread over several
        experts = torch.stack([ids.to(device) for ids, _ in taken], 1)  # (rows, L, k)
        weights = torch.stack([weights.to(device) for _, weights in taken], 1)
        rows = len(experts)
        assert rows in (num_positions, len(real_rows)), (
            f"experts saw {rows} rows; the batch has {num_positions} positions, "
            f"{len(real_rows)} of them real"
        )
        if rows != len(real_rows):
            experts, weights = experts[real_rows], weights[real_rows]
        return by_weight(experts.long(), weights, self.num_experts)

    def drain(self) -> dict[int, tuple[Tensor, ...]]:
        """Returns what was recorded since the last time, by layer, as it was; and forgets it."""
        found = {place: each for place, each in enumerate(self._choices) if each is not None}
        self._choices = [None] * len(self._modules)
        return dict(found)

    def refill(self, choices: Mapping[int, tuple[Tensor, ...]], device: torch.device) -> None:
        """Records what was drained before, as if the layers had run now."""
        for place, (ids, weights) in choices.items():
            self._choices[place] = (ids.to(device), weights.to(device))

    def _hook(self, index: int) -> Any:
        def record(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            given = (*args, *kwargs.values())
            if len(given) < 3 or given[1].shape != given[2].shape:
                raise UserError(
                    f"{type(module).__name__}: is not called with (hidden states, chosen experts, "
                    "weights), so its routing cannot be recorded"
                )
            ids, weights = given[1].detach(), given[2].detach()
            self._choices[index] = (ids.flatten(0, -2), weights.flatten(0, -2))

        return record


def by_weight(experts: Tensor, weights: Tensor, num_experts: int) -> tuple[Tensor, Tensor]:
    """Orders the slots of each token and layer by weight, largest first; ties keep their order.

    Models may take their top k in any order (`topk(sorted=False)`: DeepSeek-V3, GLM-4-MoE), and
    routers leave slots empty anywhere.

    Args:
        experts: (N, L, k) int64; `num_experts` = empty slot, which goes last.
        weights: (N, L, k).
        num_experts: E.
    """
    if experts.shape[-1] == 1:
        return experts, weights
    keys = weights.masked_fill(experts == num_experts, -torch.inf)
    # looking first is cheaper than sorting, but would make the host wait for a GPU
    if keys.device.type == "cpu" and bool((keys[..., :-1] >= keys[..., 1:]).all()):
        return experts, weights
    order = keys.argsort(dim=-1, descending=True, stable=True)
    return experts.gather(-1, order), weights.gather(-1, order)
