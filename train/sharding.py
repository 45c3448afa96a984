"""A model divided among processes by transformers' own plans: FSDP2, whole experts, or both."""

import logging
import os
from math import gcd
from typing import Any

import torch
from torch import Tensor
from transformers.distributed import DistributedConfig
from transformers.distributed.expert_parallel import AutoEP, EPImplementationInterface

from ..configs.errors import UserError
from ..configs.schema import Config
from .arguments import device_of
from .processes import started_processes


def data_parallel(config: Config) -> int:
    """Returns in how many parts a batch is dealt out; with `experts` all see the whole."""
    return 1 if config.train.parallel == "experts" else config.train.processes


def check_parallel(config: Config) -> None:
    """Refuses several processes where the device, the model or their number does not allow them.

    Raises:
        UserError: names the settings, and what is accepted.
    """
    train, experts = config.train, config.model.num_experts
    if train.processes == 1:
        return
    device, said = device_of(train), f"train.parallel={train.parallel}"
    if device == "mps":
        raise UserError(
            f"train.processes={train.processes}: several processes train on CUDA or on a CPU; "
            "set train.device=cpu"
        )
    if train.parallel != "ddp" and device == "cpu" and torch.cuda.is_available():
        raise UserError(
            f"{said} divides a model among GPUs where there are some; hide them with "
            "CUDA_VISIBLE_DEVICES= to train on the CPU"
        )
    if "experts" not in train.parallel:
        return
    if not experts:
        raise UserError(f"{said}: model.num_experts=0 has no experts to divide; choose ddp or fsdp")
    if train.parallel == "experts" and experts % train.processes:
        raise UserError(
            f"{said}: model.num_experts={experts} cannot be divided evenly among "
            f"train.processes={train.processes}; choose a divisor of it, or experts_fsdp"
        )


class SkippingEP(AutoEP):
    """The library's exchange of tokens, which knows no slot without an expert.

    Such slots (padding, dropped, nothing permitted) have the id `num_experts` and weight 0. Here
    they go to the process' own experts in turn: nothing is sent for them, and their weight stays 0.
    """

    def __call__(self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        """(N, D), (N, k), (N, k) -> (N, D)."""
        local = int(self.num_local_experts)  # type: ignore[arg-type]
        skipped = top_k_index >= local * self.ep_mesh.size()
        rows = torch.arange(len(top_k_index), device=top_k_index.device)[:, None]
        own = self.ep_mesh.get_local_rank() * local + rows % local
        ids = torch.where(skipped, own, top_k_index)
        output: Tensor = super().__call__(hidden_states, ids, top_k_weights.masked_fill(skipped, 0))
        return output


EPImplementationInterface.register("moescope", SkippingEP)


def shard(model: Any, config: Config) -> Any:
    """Divides a model as `train.parallel` says; returns it as it is under ddp or alone.

    All processes call it with the same weights. Afterwards each holds its share of them.
    """
    kind, count = config.train.parallel, started_processes()
    if count == 1 or kind == "ddp":
        return model
    # DTensor says at every new tensor that two messages of two groups could be one
    logging.getLogger("torch.distributed.tensor._redistribute").setLevel(logging.ERROR)
    sizes: dict[str, Any] = _sizes(kind, count, config.model.num_experts)
    plan = DistributedConfig(**sizes, ep_implementation="moescope")
    if kind == "experts":
        # processes that see the same batch are a tensor-parallel group to the library, which wants
        # a plan for it; the rule for experts gives way to the one that divides them
        model.tp_plan = {"model.layers.*.mlp.experts": "replicate"}
    plan, _, mesh = type(model).prepare_distribute_model(plan)
    return type(model).maybe_distribute_model(model, plan, mesh)


def _sizes(kind: str, count: int, num_experts: int) -> dict[str, int]:
    if kind == "fsdp":
        return {"fsdp_size": count}
    if kind == "experts":
        return {"tp_size": count, "ep_size": count}
    # tokens are exchanged inside a machine, where that is fast; its copies of an expert are sharded
    local = int(os.environ.get("LOCAL_WORLD_SIZE", count))
    return {"fsdp_size": count, "ep_size": gcd(local, num_experts)}


def is_sharded(model: Any) -> bool:
    """Whether a process holds only its share of a model."""
    return bool(getattr(model, "is_distributed_loading_by_transformers", False))
