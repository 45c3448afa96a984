"""The corpus audit: counts, before training, what could be mistaken for topic specialisation.

That is documents per topic, repeats within and across topics and splits, lengths,
non-Latin letters, words that topics share, documents of one group. docs/corpus.md names each key.
"""

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from .cleaning import Duplicate, Kept, Tally
from .documents import SPLITS
from .words import hash_words

WORD_BUCKETS = 2**17  # hashed words: 1 MB per topic, whatever the vocabulary
QUANTILES = {"p5": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95}
MAX_PAIRS = 20
_ASCII_LETTERS = np.zeros(256, dtype=bool)
_ASCII_LETTERS[[*b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"]] = True


class TextCounts:
    """Counts of the texts themselves, taken while they stream by, a batch at a time."""

    def __init__(self, num_topics: int) -> None:
        self.words = np.zeros((num_topics, WORD_BUCKETS), dtype=np.int64)
        self.latin = np.zeros(num_topics, dtype=np.int64)
        self.other = np.zeros(num_topics, dtype=np.int64)

    def add(self, topics: np.ndarray, texts: Sequence[str]) -> None:
        """Counts words and letters of texts (N) under their topics (N,)."""
        hashes, offsets = hash_words(texts)
        buckets = (hashes % np.uint64(WORD_BUCKETS)).astype(np.int64)
        cells = np.repeat(topics, np.diff(offsets)) * WORD_BUCKETS + buckets
        used, counts = np.unique(cells, return_counts=True)
        self.words.reshape(-1)[used] += counts
        for topic, text in zip(topics.tolist(), texts, strict=True):
            latin, other = count_letters(text)
            self.latin[topic] += latin
            self.other[topic] += other


def count_letters(text: str) -> tuple[int, int]:
    """Returns how many letters are Latin and how many are of another script."""
    encoded = text.encode()
    latin = int(_ASCII_LETTERS[np.frombuffer(encoded, dtype=np.uint8)].sum())
    if len(encoded) == len(text):
        return latin, 0
    other = 0
    for character, count in Counter(c for c in text if c > "\x7f").items():
        if character.isalpha():
            if _is_latin(character):
                latin += count
            else:
                other += count
    return latin, other


@lru_cache(maxsize=65536)
def _is_latin(letter: str) -> bool:
    return "LATIN" in unicodedata.name(letter, "")


def audit_corpus(
    topics: Sequence[str],
    topic: np.ndarray,
    split: np.ndarray,
    kept: Kept,
    tally: Tally,
    counts: TextCounts,
) -> dict[str, Any]:
    """Returns the audit; docs/corpus.md explains every key.

    Args:
        topics: names, by index.
        topic: topic of every row (D,).
        split: split of every row (D,), −1 where it was dropped after cleaning.
        kept: what is known of every row.
        tally: what cleaning removed and found.
        counts: of the texts that are in a split.
    """
    used = split >= 0
    named = {name: used & (topic == index) for index, name in enumerate(topics)}
    characters, words = np.array(kept.characters), np.array(kept.words)
    group, source = np.array(kept.group, dtype=np.uint64), np.array(kept.source)
    sources = list(kept.source_names)
    letters = counts.latin + counts.other
    return {
        "topics": list(topics),
        "num_read": tally.num_read,
        "num_cut": tally.num_cut,
        "removed": {reason: count for reason, count in tally.removed.items() if count},
        "documents": {
            name: {t: int((mask & (split == s)).sum()) for t, mask in named.items()}
            for s, name in enumerate(SPLITS)
        },
        "groups": {
            name: {t: len(np.unique(group[mask & (split == s)])) for t, mask in named.items()}
            for s, name in enumerate(SPLITS)
        },
        "exact_duplicates": _duplicates(tally.exact, topics, topic, split),
        "near_duplicates": _duplicates(tally.near, topics, topic, split),
        "characters": {t: _distribution(characters[mask]) for t, mask in named.items()},
        "words": {t: _distribution(words[mask]) for t, mask in named.items()},
        "non_latin_share": {t: _share(counts.other[i], letters[i]) for i, t in enumerate(topics)},
        "word_overlap": word_overlap(counts.words).round(4).tolist(),
        "largest_group_share": {t: _largest_share(group[mask]) for t, mask in named.items()},
        "sources": {t: _by_source(source[mask], sources) for t, mask in named.items()},
    }


def word_overlap(counts: np.ndarray) -> np.ndarray:
    """Share of words that two topics have in common: Σ_x min(p_t(x), p_u(x)).

    Args:
        counts: word counts (T, words).

    Returns:
        (T, T): 1 on the diagonal; 0 where no word is shared. Small topics overlap less by chance.
    """
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    overlap = np.eye(len(counts))
    for first in range(len(counts)):
        for second in range(first + 1, len(counts)):
            common = np.minimum(shares[first], shares[second]).sum()
            overlap[first, second] = overlap[second, first] = common
    return overlap


def _duplicates(
    found: Sequence[Duplicate], topics: Sequence[str], topic: np.ndarray, split: np.ndarray
) -> dict[str, Any]:
    """Counts repeats by topic and split; `across_splits` counts those that were kept."""
    pairs = Counter((topics[topic[repeat.original]], repeat.topic) for repeat in found)
    across = {pair: count for pair, count in pairs.items() if pair[0] != pair[1]}
    split_pairs = [(split[d.original], split[d.row]) for d in found if d.row is not None]
    most = sorted(across.items(), key=lambda item: (-item[1], item[0]))[:MAX_PAIRS]
    return {
        "found": len(found),
        "removed": sum(repeat.row is None for repeat in found),
        "within_topics": len(found) - sum(across.values()),
        "across_topics": sum(across.values()),
        "across_splits": sum(bool(a != b and a >= 0 and b >= 0) for a, b in split_pairs),
        "topic_pairs": [{"kept": a, "repeat": b, "count": count} for (a, b), count in most],
    }


def _distribution(lengths: np.ndarray) -> Mapping[str, float]:
    if not len(lengths):
        return {}
    quantiles = np.quantile(lengths, list(QUANTILES.values()))
    values = dict(zip(QUANTILES, quantiles.round(1).tolist(), strict=True))
    return {"mean": round(float(lengths.mean()), 1), "max": int(lengths.max()), **values}


def _share(part: int, whole: int) -> float:
    return round(float(part / whole), 6) if whole else 0.0


def _largest_share(labels: np.ndarray) -> float:
    return _share(np.unique(labels, return_counts=True)[1].max(initial=0), len(labels))


def _by_source(source: np.ndarray, names: Sequence[str]) -> dict[str, int]:
    """Returns the sources with most documents, and how many each gives."""
    counts = np.bincount(source, minlength=len(names))
    order = np.argsort(-counts, kind="stable")[:MAX_PAIRS]
    return {names[index]: int(counts[index]) for index in order if counts[index]}
