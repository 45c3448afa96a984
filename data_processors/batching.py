"""Orders examples so that a batch holds similar lengths and little padding."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from .examples import ExampleDataset

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
