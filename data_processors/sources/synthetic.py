"""Source `synthetic`: texts with planted topics, the control of every statistic."""

from collections.abc import Iterator

import numpy as np

from ...configs.schema_corpus import SyntheticSource
from ..documents import Document, Wanted

CHUNK_DOCUMENTS = 2048
CONSONANTS = "bdfgjklmnprstvz"
VOWELS = "aeiou"


def read_synthetic(
    source: SyntheticSource, wanted: Wanted, generator: np.random.Generator
) -> Iterator[Document]:
    """Yields documents in random topic order.

    A word is drawn from the words that all topics share with probability `overlap` (uniformly),
    else from the topic's own (Zipf). After a shared word s, a shared word is with probability
    `context_effect` the one that the topic's own permutation of the shared words puts after s. A
    permutation keeps the uniform distribution, so the effect changes which word follows which and
    no word frequency: topics with overlap 1 have equal unigrams, whatever the effect.
    """
    num_topics = source.num_topics
    names = [f"topic_{index:0{len(str(num_topics - 1))}d}" for index in range(num_topics)]
    words = _vocabulary(source, generator)
    shared = max(source.shared_words, 1)
    followers = np.argsort(generator.random((num_topics, shared)), axis=1)  # (topics, shared words)
    planted = np.repeat(np.arange(num_topics), source.documents_per_topic)
    generator.shuffle(planted)
    shown = generator.permutation(planted) if source.shuffle else planted
    for start in range(0, len(planted), CHUNK_DOCUMENTS):
        chunk = planted[start : start + CHUNK_DOCUMENTS]
        lengths = np.maximum(1, generator.poisson(source.words_per_document, len(chunk)))
        ids = _word_ids(source, chunk, int(lengths.max()), followers, generator)
        for row, length in enumerate(lengths):
            topic = names[shown[start + row]]
            if wanted(topic):
                name = f"synthetic-{start + row}"
                text = " ".join(words[index] for index in ids[row, :length])
                yield Document(name, text, topic, None, "synthetic", name)


def _word_ids(
    source: SyntheticSource,
    topics: np.ndarray,
    length: int,
    followers: np.ndarray,
    generator: np.random.Generator,
) -> np.ndarray:
    """Draws word ids (documents, length): shared words first, then each topic's own block."""
    shape = (len(topics), length)
    overlap = source.overlap if source.shared_words else 0.0
    shared = generator.random(shape) < overlap
    linked = generator.random(shape) < source.context_effect
    ids = generator.integers(followers.shape[1], size=shape)
    ranks = _zipf(source.words_per_topic, shape, generator)
    own = source.shared_words + topics[:, None] * source.words_per_topic + ranks
    for position in range(1, length):
        follows = shared[:, position - 1] & linked[:, position]
        after = followers[topics, ids[:, position - 1]]
        ids[:, position] = np.where(follows, after, ids[:, position])
    return np.where(shared, ids, own)


def _zipf(num_words: int, shape: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    """Draws ranks with probability proportional to 1 / (rank + 1)."""
    cumulative = np.cumsum(1 / np.arange(1, num_words + 1))
    return np.searchsorted(cumulative, generator.random(shape) * cumulative[-1])


def _vocabulary(source: SyntheticSource, generator: np.random.Generator) -> list[str]:
    """Makes distinct pseudo-words of equal length, spelt independently of their topic."""
    count = source.shared_words + source.num_topics * source.words_per_topic
    syllables = [c + v for c in CONSONANTS for v in VOWELS]
    num_syllables = 2
    while len(syllables) ** num_syllables < 2 * count:
        num_syllables += 1
    codes = generator.choice(len(syllables) ** num_syllables, size=count, replace=False)
    places = len(syllables) ** np.arange(num_syllables)
    digits = codes[:, None] // places % len(syllables)  # (words, syllables)
    return ["".join(syllables[digit] for digit in row) for row in digits]
