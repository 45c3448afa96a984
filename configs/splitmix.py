"""Random bits as a function of a key and a counter: the same in whatever order they are drawn."""

import numpy as np
from numpy.typing import NDArray

GAMMA = np.uint64(0x9E3779B97F4A7C15)

Keys = NDArray[np.uint64]


def splitmix64(keys: Keys, counters: NDArray[np.integer] | int) -> Keys:
    """Output number `counters` of the generators that start at `keys`, which broadcast: 64 bits.

    SplitMix64 of Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014).
    """
    steps = np.atleast_1d(np.asarray(counters, np.int64)).astype(np.uint64) + np.uint64(1)
    return scatter_bits(keys + GAMMA * steps)


def scatter_bits(values: Keys) -> Keys:
    """Scrambles 64-bit integers one to one: the finaliser of SplitMix64."""
    values = values ^ (values >> np.uint64(30))
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
