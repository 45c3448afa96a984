"""Several processes that record one split; they talk through the key store of torchrun.

Process 0 runs the stage and gives the others their tasks. Every process, 0 included, records a
shard of the split's chunks; then process 0 merges the shards.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import torch.distributed as dist

WAIT = timedelta(days=30)  # a shard may take days; if one process fails, torchrun ends all


@dataclass(frozen=True)
class Shard:
    """The chunks of one process: every `count`-th, from number `rank` + 1 on."""

    rank: int = 0
    count: int = 1

    @property
    def name(self) -> str:
        """Names the folder of what the shard saved."""
        return f"{self.rank}-of-{self.count}"

    def has(self, number: int) -> bool:
        """Says whether a chunk belongs to it; chunks are counted from 1."""
        return (number - 1) % self.count == self.rank


WHOLE = Shard()


class Processes:
    """This process and its view of the others that torchrun started."""

    def __init__(self) -> None:
        self._store, rank, count = next(dist.rendezvous("env://"))
        self.shard = Shard(rank, count)
        self._num_tasks = 0

    @staticmethod
    def started() -> bool:
        """Says whether torchrun started more than one process."""
        return int(os.environ.get("WORLD_SIZE", "1")) > 1

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
            self._store.set(f"done-{number}-{self.shard.rank}", "1")

    def wait_for_others(self) -> None:
        """Waits until all other processes have reported the last task as done."""
        others = range(1, self.shard.count)
        self._store.wait([f"done-{self._num_tasks}-{rank}" for rank in others], WAIT)
