"""Batch order: a permutation, fixed by (seed, epoch), with little padding."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from moescope.data_processors.batching import length_grouped_order, shuffled_order


def padding(lengths: np.ndarray, order: np.ndarray, batch_size: int) -> float:
    """Share of a batch that is padding, over all batches."""
    batches = [lengths[order[i : i + batch_size]] for i in range(0, len(order), batch_size)]
    return 1 - lengths.sum() / sum(len(batch) * batch.max() for batch in batches)


@given(
    lengths=st.lists(st.integers(3, 128), min_size=0, max_size=500),
    batch_size=st.integers(1, 40),
    epoch=st.integers(0, 9),
)
def test_order_is_a_permutation(lengths: list[int], batch_size: int, epoch: int) -> None:
    order = length_grouped_order(np.array(lengths, np.int32), batch_size, seed=0, epoch=epoch)
    assert sorted(order.tolist()) == list(range(len(lengths)))


def test_order_is_fixed_by_seed_and_epoch() -> None:
    lengths = np.random.default_rng(0).integers(3, 129, 1000)
    draws = [
        length_grouped_order(lengths, 32, seed, epoch).tolist()
        for seed, epoch in ((1, 2), (1, 2), (1, 3), (2, 2))
    ]
    assert draws[0] == draws[1]
    assert draws[0] != draws[2] != draws[3] != draws[0]
    assert (shuffled_order(9, 1, 2) == shuffled_order(9, 1, 2)).all()
    assert (shuffled_order(99, 1, 2) != shuffled_order(99, 1, 3)).any()


def test_grouping_removes_most_padding_yet_mixes_lengths_over_time() -> None:
    lengths = np.random.default_rng(0).integers(3, 129, 20_000)
    grouped = length_grouped_order(lengths, 32, seed=0, epoch=0)
    assert (
        padding(lengths, grouped, 32)
        < 0.05
        < 0.3
        < padding(lengths, shuffled_order(20_000, 0, 0), 32)
    )
    batch_means = lengths[grouped].reshape(-1, 32).mean(1)
    neighbours = np.corrcoef(batch_means[:-1], batch_means[1:])[0, 1]
    assert abs(neighbours) < 0.15  # long and short batches come in random order
