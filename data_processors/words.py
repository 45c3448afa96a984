"""Hashes the words of many texts to 64 bits, with arithmetic on arrays and no loop over words.

A word is a run of letters, digits and underscores, case folded; every character of the scripts
written without spaces (Chinese, Japanese, Korean syllables) starts one of its own.
"""

from collections.abc import Sequence

import numpy as np

from ..configs.splitmix import GAMMA, scatter_bits

SHINGLE_WORDS = 5
_BASE = GAMMA  # odd, so it has an inverse modulo 2^64
_INVERSE = np.uint64(pow(int(GAMMA), -1, 2**64))
_IS_WORD = np.zeros(256, dtype=bool)
_IS_WORD[[*b"0123456789_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"]] = True
_IS_WORD[0x80:] = True
_IS_UNSPACED = np.zeros(256, dtype=bool)
_IS_UNSPACED[0xE3:0xEE] = True  # first UTF-8 byte of U+3000 to U+DFFF


def hash_words(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Hashes every word of every text.

    Returns:
        hashes (W,) uint64 in order, and offsets (len(texts) + 1,) int64 of each text's words.
    """
    encoded = [text.lower().encode() for text in texts]
    data = np.frombuffer(b"\n".join([*encoded, b"\n"]), dtype=np.uint8)
    is_word = _IS_WORD[data]
    starts_here = np.concatenate([is_word[:1], is_word[1:] & ~is_word[:-1]])
    starts_here |= _IS_UNSPACED[data]
    follows_end = np.concatenate([~is_word[1:] | starts_here[1:], [True]])
    starts = np.flatnonzero(starts_here)
    ends = np.flatnonzero(is_word & follows_end) + 1
    hashes = scatter_bits(_range_hashes(data, starts, ends))
    text_ends = np.cumsum([len(text) + 1 for text in encoded])
    offsets = np.concatenate([[0], np.searchsorted(starts, text_ends)])
    return hashes, offsets.astype(np.int64)


def _range_hashes(data: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Polynomial hash of data[start:end] modulo 2^64, by differences of one running sum."""
    # Σ_{i in range} byte_i base^i, divided by base^start: equal words hash alike wherever they are
    powers = np.cumprod(np.full(len(data), _BASE))
    inverses = np.cumprod(np.full(len(data), _INVERSE))
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum((data + np.uint64(1)) * powers)])
    return (sums[ends] - sums[starts]) * inverses[starts]


def hash_shingles(hashes: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hashes every run of `SHINGLE_WORDS` words inside a text (a shorter text is one run).

    Returns:
        shingles (S,) uint64 and offsets (texts + 1,) int64; a text without words has none.
    """
    position = np.arange(len(hashes))
    text_end = np.repeat(offsets[1:], np.diff(offsets))
    text_start = np.repeat(offsets[:-1], np.diff(offsets))
    begins = (position + SHINGLE_WORDS <= text_end) | (position == text_start)
    first = np.flatnonzero(begins)
    shingles = np.zeros(len(first), dtype=np.uint64)
    for step in range(SHINGLE_WORDS):
        inside = first + step < text_end[first]
        word = np.where(inside, hashes[np.minimum(first + step, len(hashes) - 1)], np.uint64(step))
        shingles = scatter_bits(shingles * _BASE + word)
    return shingles, np.searchsorted(first, offsets).astype(np.int64)
