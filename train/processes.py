"""The processes that torchrun started: who this one is, and how process 0 hands out work.

Process 0 alone runs the stage: it holds the locks, talks to the user, and writes. The others wait
for its tasks. They talk through torchrun's key store until they train together.
"""

import os
import warnings
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

WAIT = timedelta(days=30)  # a task may take days; if one process fails, torchrun ends all


class Processes:
    """This process and its view of the others that torchrun started."""

    def __init__(self) -> None:
        self._store, self.rank, self.count = next(dist.rendezvous("env://"))
        self._num_tasks = 0

    @staticmethod
    def started() -> bool:
        """Says whether torchrun started more than one process."""
        return started_processes() > 1

    def hand_out(self, task: str) -> None:
        """Gives all other processes a task; "" tells them that there are no more."""
        self._store.set(f"task-{self._num_tasks}", task)
        self._num_tasks += 1

    def tasks(self) -> Iterator[str]:
        """Yields the tasks that process 0 hands out; asking for the next reports one as done."""
        number = 0
        while True:
            key = f"task-{number}"
            self._store.wait([key], WAIT)
            task = self._store.get(key).decode()
            if not task:
                return
            yield task
            number += 1
            self._store.set(f"done-{number}-{self.rank}", "1")

    def wait_for_others(self) -> None:
        """Waits until all other processes have reported the last task as done."""
        others = range(1, self.count)
        self._store.wait([f"done-{self._num_tasks}-{rank}" for rank in others], WAIT)

    def fails_first(self) -> bool:
        """Says whether no other process had failed before; the others then fail for its sake."""
        me = f"{self.rank}"
        return bool(self._store.compare_set("failed", "", me).decode() == me)


def started_processes() -> int:
    """Returns how many processes torchrun started, this one among them."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_rank() -> int:
    """Returns this process' number on its machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def join_group(device: str) -> None:
    """Joins the processes that torchrun started into one group; does nothing for a single one.

    Args:
        device: "cuda" or "cpu": where they train. Numbers on the host go through gloo.
    """
    if started_processes() == 1 or dist.is_initialized():
        return
    if device == "cuda":
        torch.cuda.set_device(local_rank())
    # accelerate hands DDP the older of two names for the same setting
    warnings.filterwarnings("ignore", "`broadcast_buffers`", FutureWarning)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo")


def together() -> bool:
    """Whether this process trains with others."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank() -> int:
    """Returns this process' number; 0 where it is alone."""
    return dist.get_rank() if together() else 0


def is_first() -> bool:
    """Whether this is process 0, or the only one."""
    return rank() == 0


def from_first(value: Any) -> Any:
    """Gives every process the value that process 0 has."""
    if not together():
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0, device=torch.device("cpu"))
    return values[0]


def wait_for_all() -> None:
    """Waits until every process is here."""
    if together():
        dist.all_reduce(torch.zeros(1))  # on the host: a barrier would take a GPU
