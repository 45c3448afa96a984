"""Several processes that record one split, as torchrun starts them; they meet in its key store.

Process 0 runs the stage and hands each task out; all, itself included, record their share of the
chunks, and it puts the shares together.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import torch.distributed as dist

WAIT = timedelta(days=30)  # a share takes as long as it takes; torchrun ends all if one fails


@dataclass(frozen=True)
class Share:
    """Every `count`-th chunk from the `rank`-th on."""

    rank: int = 0
    count: int = 1

    @property
    def name(self) -> str:
        """Names the share's spool."""
        return f"{self.rank}-of-{self.count}"

    def has(self, number: int) -> bool:
        """Says whether a chunk, counted from 1, is in it."""
        return (number - 1) % self.count == self.rank


ALONE = Share()


class Processes:
    """This process among those that torchrun started."""

    def __init__(self) -> None:
        self._store, rank, count = next(dist.rendezvous("env://"))
        self.share = Share(rank, count)
        self._num_tasks = 0

    @staticmethod
    def started() -> bool:
        """Says whether there are several."""
        return int(os.environ.get("WORLD_SIZE", "1")) > 1

    def hand_out(self, task: str) -> None:
        """Gives all others a task; "" when there are no more."""
        self._store.set(f"task-{self._num_tasks}", task)
        self._num_tasks += 1

    def tasks(self) -> Iterator[str]:
        """Yields the tasks that process 0 hands out; each counts as done when the next is asked."""
        number = 0
        while True:
            key = f"task-{number}"
            self._store.wait([key], WAIT)
            task = self._store.get(key).decode()
            if not task:
                return
            yield task
            number += 1
            self._store.set(f"done-{number}-{self.share.rank}", "1")

    def wait_for_others(self) -> None:
        """Waits until all others are done with the last task."""
        others = range(1, self.share.count)
        self._store.wait([f"done-{self._num_tasks}-{rank}" for rank in others], WAIT)
