"""Several processes that record one split, started by torchrun.

Process 0 runs the stage and gives the others their tasks. Every process, 0 included, records a
shard of the split's chunks; then process 0 merges the shards.
"""

from dataclasses import dataclass

from ...train.processes import Processes


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


class Recorders(Processes):
    """The processes that record a split, and the shard of this one."""

    @property
    def shard(self) -> Shard:
        return Shard(self.rank, self.count)
