"""Near-duplicates among a stream of texts: MinHash with banded buckets, in numpy.

Broder, "On the resemblance and containment of documents" (1997); banding as in Leskovec, Rajaraman
and Ullman, "Mining of Massive Datasets", chapter 3. Own code because the libraries hash and insert
one text at a time in Python, several times slower than all of our other reading and cleaning.
"""

from array import array
from dataclasses import dataclass

import numpy as np

from ..configs.splitmix import scatter_bits
from .words import hash_shingles

NUM_PERMUTATIONS = 128
BLOCK_ENTRIES = 4096
RECALL_AT_THRESHOLD = 0.99


def rows_per_band(threshold: float, num_permutations: int = NUM_PERMUTATIONS) -> int:
    """Returns the most rows r that keep 1 − (1 − s^r)^(permutations / r) ≥ 0.99 at s = threshold.

    More rows mean fewer candidates to verify; that probability is the one with which a pair of
    similarity s meets in at least one bucket.
    """
    fits = [
        rows
        for rows in range(1, num_permutations // 2 + 1)
        if 1 - (1 - threshold**rows) ** (num_permutations // rows) >= RECALL_AT_THRESHOLD
    ]
    return max(fits, default=1)


@dataclass(frozen=True, slots=True)
class Signature:
    """A text's MinHash: `minima` (P,) uint32 and one bucket key per band."""

    minima: np.ndarray
    keys: list[int]


class NearDuplicateIndex:
    """Signatures and buckets of the texts accepted so far.

    Memory per accepted text: 4 bytes per permutation and some 80 per band, in all about 2.7 kB at
    a threshold of 0.8.

    Args:
        threshold: estimated Jaccard similarity of word 5-grams from which two texts are near
            duplicates. The estimate is the share of equal minima; its standard error is
            √(s(1 − s) / 128), 0.035 at s = 0.8.
        generator: draws the hash functions.
    """

    def __init__(self, threshold: float, generator: np.random.Generator) -> None:
        self._threshold = threshold
        size = (2, NUM_PERMUTATIONS)
        factors, shifts = generator.integers(2**64, size=size, dtype=np.uint64)
        self._factors, self._shifts = factors | np.uint64(1), shifts
        self._rows = rows_per_band(threshold)
        self._bands = NUM_PERMUTATIONS // self._rows
        self._minima: list[np.ndarray] = []  # blocks of BLOCK_ENTRIES signatures
        self._documents = array("q")
        self._first: dict[int, int] = {}  # bucket key → its first entry
        self._others: dict[int, list[int]] = {}  # and the rest, for the few keys that have more

    def sign(self, hashes: np.ndarray, offsets: np.ndarray) -> list[Signature | None]:
        """Signs texts given as word hashes (`words.hash_words`); None for one without words."""
        shingles, offsets = hash_shingles(hashes, offsets)
        filled = np.flatnonzero(np.diff(offsets))
        signatures: list[Signature | None] = [None] * (len(offsets) - 1)
        if len(filled):
            minima = self._minhash(shingles, offsets[filled])
            keys = self._band_keys(minima).tolist()
            for number, row, bands in zip(filled.tolist(), minima, keys, strict=True):
                signatures[number] = Signature(row, bands)
        return signatures

    def _minhash(self, shingles: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """Least value of each permutation over each text's shingles, (texts, P) uint32."""
        minima = np.empty((len(starts), NUM_PERMUTATIONS), dtype=np.uint32)
        permuted = np.empty_like(shingles)
        for column, (factor, shift) in enumerate(zip(self._factors, self._shifts, strict=True)):
            np.multiply(shingles, factor, out=permuted)
            permuted += shift
            minima[:, column] = np.minimum.reduceat(permuted, starts) >> np.uint64(32)
        return minima

    def _band_keys(self, minima: np.ndarray) -> np.ndarray:
        """Hashes each band's number and rows, (texts, bands) uint64."""
        grouped = minima[:, : self._bands * self._rows].reshape(len(minima), self._bands, -1)
        keys = np.broadcast_to(np.arange(self._bands, dtype=np.uint64), grouped.shape[:2])
        for row in range(self._rows):
            keys = scatter_bits(keys * self._factors[0] + grouped[:, :, row])
        return keys

    def find(self, signature: Signature) -> int | None:
        """Returns the document number of the first accepted near-duplicate, if there is one."""
        candidates = set()
        for key in signature.keys:
            if key in self._first:
                candidates.add(self._first[key])
                candidates.update(self._others.get(key, ()))
        if not candidates:
            return None
        entries = sorted(candidates)
        stored = np.stack([self._minima[e // BLOCK_ENTRIES][e % BLOCK_ENTRIES] for e in entries])
        similar = (stored == signature.minima).mean(axis=1) >= self._threshold
        return self._documents[entries[int(similar.argmax())]] if similar.any() else None

    def add(self, signature: Signature, document: int) -> None:
        """Accepts a text under a document number."""
        entry = len(self._documents)
        if entry % BLOCK_ENTRIES == 0:
            self._minima.append(np.empty((BLOCK_ENTRIES, NUM_PERMUTATIONS), dtype=np.uint32))
        self._minima[-1][entry % BLOCK_ENTRIES] = signature.minima
        self._documents.append(document)
        for key in signature.keys:
            if self._first.setdefault(key, entry) != entry:
                self._others.setdefault(key, []).append(entry)
