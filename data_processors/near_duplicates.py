"""Near-duplicates among a stream of texts: MinHash with banded buckets, in numpy.

Broder, "On the resemblance and containment of documents" (1997); banding as in Leskovec, Rajaraman
and Ullman, "Mining of Massive Datasets", chapter 3. Own code because the libraries hash and insert
one text at a time in Python, several times slower than all of our other reading and cleaning.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from .words import hash_shingles, hash_words, mix

NUM_PERMUTATIONS = 128
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


class NearDuplicateIndex:
    """Signatures and buckets of the texts accepted so far.

    Memory per accepted text: 4 bytes per permutation, and one bucket entry per band.

    Args:
        threshold: estimated Jaccard similarity of word 5-grams from which two texts are near
            duplicates. The estimate is the share of equal signature rows; its standard error is
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
        self._signatures = np.empty((1024, NUM_PERMUTATIONS), dtype=np.uint32)
        self._documents: list[int] = []
        self._buckets: defaultdict[int, list[int]] = defaultdict(list)

    def sign(self, texts: Sequence[str]) -> tuple[np.ndarray, list[list[int]], np.ndarray]:
        """Computes what `find` and `add` take, for a batch of texts.

        Returns:
            signatures (N, P) uint32, N lists of bucket keys (empty for a text without words), and
            the words of each text (N,).
        """
        hashes, word_offsets = hash_words(texts)
        shingles, offsets = hash_shingles(hashes, word_offsets)
        signatures = self._minhash(shingles, offsets)
        grouped = signatures[:, : self._bands * self._rows].reshape(len(texts), self._bands, -1)
        keys = np.broadcast_to(np.arange(self._bands, dtype=np.uint64), grouped.shape[:2])
        for row in range(self._rows):  # (N, bands)
            keys = mix(keys * self._factors[0] + grouped[:, :, row])
        has_words = np.diff(offsets) > 0
        listed = [row if words else [] for row, words in zip(keys.tolist(), has_words, strict=True)]
        return signatures, listed, np.diff(word_offsets)

    def _minhash(self, shingles: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        filled = np.flatnonzero(np.diff(offsets))
        signatures = np.zeros((len(offsets) - 1, NUM_PERMUTATIONS), dtype=np.uint32)
        if not len(filled):
            return signatures
        permuted = np.empty_like(shingles)
        for column, (factor, shift) in enumerate(zip(self._factors, self._shifts, strict=True)):
            np.multiply(shingles, factor, out=permuted)
            permuted += shift
            least = np.minimum.reduceat(permuted, offsets[filled])
            signatures[filled, column] = least >> np.uint64(32)
        return signatures

    def find(self, signature: np.ndarray, keys: list[int]) -> int | None:
        """Returns the document number of the first accepted near-duplicate, if there is one."""
        buckets = self._buckets
        candidates = {entry for key in keys if key in buckets for entry in buckets[key]}
        if not candidates:
            return None
        entries = np.fromiter(candidates, dtype=np.int64, count=len(candidates))
        similar = (self._signatures[entries] == signature).mean(axis=1) >= self._threshold
        if not similar.any():
            return None
        return self._documents[int(entries[similar].min())]

    def add(self, signature: np.ndarray, keys: list[int], document: int) -> None:
        """Accepts a text under a document number."""
        entry = len(self._documents)
        if entry == len(self._signatures):
            self._signatures = np.concatenate([self._signatures, np.empty_like(self._signatures)])
        self._signatures[entry] = signature
        self._documents.append(document)
        for key in keys:
            self._buckets[key].append(entry)
