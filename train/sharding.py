"""A model divided among processes by transformers' own plans: FSDP2, whole experts, or both."""

import os
from math import gcd
from typing import Any

from transformers.distributed import DistributedConfig

from ..configs.errors import UserError
from ..configs.schema import Config
from .processes import started_processes


def data_parallel(config: Config) -> int:
    """Returns in how many parts a batch is dealt out; with `experts` all see the whole."""
    return 1 if config.train.parallel == "experts" else config.train.processes


def check_parallel(config: Config) -> None:
    """Refuses a division of experts that the model or the number of processes does not allow.

    Raises:
        UserError: names the settings, and what is accepted.
    """
    train, experts = config.train, config.model.num_experts
    if train.processes == 1 or "experts" not in train.parallel:
        return
    said = f"train.parallel={train.parallel}"
    if not experts:
        raise UserError(f"{said}: model.num_experts=0 has no experts to divide; choose ddp or fsdp")
    if train.parallel == "experts" and experts % train.processes:
        raise UserError(
            f"{said}: model.num_experts={experts} cannot be divided evenly among "
            f"train.processes={train.processes}; choose a divisor of it, or experts_fsdp"
        )


def shard(model: Any, config: Config) -> Any:
    """Divides a model as `train.parallel` says; returns it as it is under ddp or alone.

    All processes call it with the same weights. Afterwards each holds its share of them.
    """
    kind, count = config.train.parallel, started_processes()
    if count == 1 or kind == "ddp":
        return model
    plan = DistributedConfig(**_sizes(kind, count, config.model.num_experts))
    plan, _, mesh = type(model).prepare_distribute_model(plan)
    return type(model).maybe_distribute_model(model, plan, mesh)


def _sizes(kind: str, count: int, num_experts: int) -> dict[str, Any]:
    if kind == "fsdp":
        return {"fsdp_size": count}
    if kind == "experts":
        return {"tp_size": count, "tp_plan": {}, "ep_size": count}
    # tokens are exchanged inside a machine, where that is fast; its copies of an expert are sharded
    local = int(os.environ.get("LOCAL_WORLD_SIZE", count))
    return {"fsdp_size": count, "ep_size": gcd(local, num_experts)}


def is_sharded(model: Any) -> bool:
    """Whether a process holds only its share of a model."""
    return bool(getattr(model, "is_distributed_loading_by_transformers", False))
