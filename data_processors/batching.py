"""Orders examples so that a batch holds similar lengths, and deals batches out to processes."""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Sampler

from .collate import IGNORED
from .examples import ExampleDataset, Row

Collator = Callable[[Sequence[Row]], dict[str, Tensor]]

POOL_BATCHES = 50  # lengths are sorted inside pools of so many random batches


def shuffled_order(num_examples: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Permutes examples; a pure function of its arguments."""
    return np.random.default_rng([seed, epoch]).permutation(num_examples)


def length_grouped_order(
    lengths: NDArray[np.integer], batch_size: int, seed: int, epoch: int
) -> NDArray[np.int64]:
    """Orders examples so that each consecutive `batch_size` of them have similar lengths.

    Random pools of 50 batches are sorted by length, cut into batches, and the batches shuffled;
    an incomplete batch comes last. A pure function of its arguments.

    Args:
        lengths: (B,) tokens of each example.
        batch_size: examples of a batch (of all devices together).
        seed: decides the order, with `epoch`.
        epoch: a new order for every epoch.
    """
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(len(lengths))
    pool = POOL_BATCHES * batch_size
    for start in range(0, len(order), pool):
        part = order[start : start + pool]
        order[start : start + pool] = part[np.argsort(-lengths[part], kind="stable")]
    whole = len(order) // batch_size * batch_size
    batches = order[:whole].reshape(-1, batch_size)
    return np.concatenate([generator.permutation(batches).ravel(), order[whole:]])


class ExampleSampler(Sampler[int]):
    """Order of a training epoch, taken from the dataset's epoch.

    It has no `set_epoch` of its own: accelerate would then call that one instead of the dataset's
    after a resume in mid-epoch.
    """

    def __init__(
        self, dataset: ExampleDataset, batch_size: int, *, seed: int, by_length: bool
    ) -> None:
        self.dataset, self.batch_size = dataset, batch_size
        self.seed, self.by_length = seed, by_length

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[int]:
        epoch = self.dataset.epoch
        if self.by_length:
            order = length_grouped_order(self.dataset.lengths, self.batch_size, self.seed, epoch)
        else:
            order = shuffled_order(len(self.dataset), self.seed, epoch)
        return iter(order.tolist())


class BatchShare(Sampler[list[int]]):
    """One process' part of every batch of a sampler: every `count`-th example of it.

    All processes together see what one would see with `count` times the batch size, and equally
    many batches each: the part may be empty where the last batch has fewer examples than there
    are processes.
    """

    def __init__(
        self, examples: Sampler[int], batch_size: int, *, rank: int = 0, count: int = 1
    ) -> None:
        self.examples, self.batch_size = examples, batch_size  # of one process
        self.rank, self.count = rank, count

    def __len__(self) -> int:
        return math.ceil(len(self.examples) / (self.batch_size * self.count))  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[list[int]]:
        at_once, batch = self.batch_size * self.count, list[int]()
        for example in self.examples:
            batch.append(example)
            if len(batch) == at_once:
                yield batch[self.rank :: self.count]
                batch = []
        if batch:
            yield batch[self.rank :: self.count]


class BlankCollator:
    """Collates, and makes of no rows a batch of padding: nothing in it is seen or counted.

    A process without examples goes through the same steps as the others with it.
    """

    def __init__(self, collate: Collator, dataset: ExampleDataset) -> None:
        self.collate, self.dataset = collate, dataset

    def __call__(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """Returns the collator's tensors."""
        if rows:
            return self.collate(rows)
        batch = self.collate(self.dataset.__getitems__([0]))
        length = batch["input_ids"].shape[1]
        for name in ("segment_ids", "position_ids"):
            batch.pop(name, None)
        return batch | {
            "attention_mask": torch.zeros_like(batch["attention_mask"]),
            "labels": torch.full_like(batch["labels"], IGNORED),
            "label_positions": batch["label_positions"][:0],
            # one document, so that attention needs no mask and every row of it has keys
            "segment_starts": torch.tensor([0, length]),
        }
