"""Random bits as a function of a key and a counter: the same in whatever order they are drawn."""

import numpy as np
from numpy.typing import NDArray

GAMMA = np.uint64(0x9E3779B97F4A7C15)

Keys = NDArray[np.uint64]


def splitmix64(keys: Keys, counters: NDArray[np.integer] | int) -> Keys:
    """Output number `counters` of the generators that start at `keys`, which broadcast: 64 bits.

    SplitMix64 (Steele, Lea & Flood 2014): its finaliser is a bijection that scatters every bit.
    """
    steps = np.atleast_1d(np.asarray(counters, np.int64)).astype(np.uint64) + np.uint64(1)
    state = keys + GAMMA * steps
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
