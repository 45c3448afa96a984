"""Windows: nothing lost, nothing joined across topics, the same as one token at a time."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from moescope.data_processors.tokenizers import EncodedTexts
from moescope.data_processors.windows import (
    build_examples,
    cut_documents,
    pack_segments,
    to_list_array,
)

CLS_SEP = (2, 3)
LENGTHS = st.lists(st.integers(0, 60), min_size=0, max_size=25)


def encoded(lengths: list[int], seed: int = 0) -> EncodedTexts:
    generator = np.random.default_rng(seed)
    total = sum(lengths)
    return EncodedTexts(
        np.arange(100, 100 + total, dtype=np.int32),
        generator.random(total) < 0.6,
        generator.random(total) < 0.05,
        np.array(lengths, np.int64),
    )


@given(lengths=LENGTHS, capacity=st.integers(6, 20), even=st.booleans())
def test_cuts_cover_every_token_once(lengths: list[int], capacity: int, even: bool) -> None:
    segments = cut_documents(np.array(lengths, np.int64), capacity, even=even)
    covered = [
        token
        for start, length in zip(segments.starts, segments.lengths, strict=True)
        for token in range(start, start + length)
    ]
    assert covered == list(range(sum(lengths)))
    for document, length in enumerate(lengths):
        sizes = segments.lengths[segments.documents == document].tolist()
        assert len(sizes) == -(-length // capacity)
        assert sum(sizes) == length
        if even:
            assert not sizes or max(sizes) - min(sizes) <= 1
        else:
            assert all(size == capacity for size in sizes[:-2])
            assert len(sizes) < 2 or sizes[-1] >= min(8, capacity // 2)


@given(
    segments=st.lists(st.tuples(st.integers(3, 32), st.integers(0, 3)), max_size=60),
    capacity=st.integers(32, 64),
)
def test_packing_keeps_topics_apart_and_fits(
    segments: list[tuple[int, int]], capacity: int
) -> None:
    lengths = np.array([length for length, _ in segments], np.int64)
    topics = np.array([topic for _, topic in segments], np.int64)
    bins = pack_segments(lengths, topics, capacity)
    assert sorted(s for example in bins for s in example) == list(range(len(segments)))
    for topic in set(topics.tolist()):
        own = [example for example in bins if topics[example[0]] == topic]
        assert all(set(topics[example]) == {topic} for example in own)
        fill = [int(lengths[example].sum()) for example in own]
        assert max(fill) <= capacity
        assert sum(2 * size <= capacity for size in fill) <= 1  # two half-empty ones would merge


def cuts(length: int, capacity: int, even: bool) -> list[tuple[int, int]]:
    """Begin and end of each window of one text."""
    if even:
        count = -(-length // capacity)
        return [(n * length // count, (n + 1) * length // count) for n in range(count)]
    begins = list(range(0, length, capacity))
    if len(begins) > 1:
        begins[-1] = min(begins[-1], length - min(8, capacity // 2))
    return list(itertools.pairwise([*begins, length]))


def slow_examples(
    texts: EncodedTexts, capacity: int, even: bool
) -> list[tuple[list[int], list[int], int]]:
    """Examples without packing, one token at a time."""
    examples, offset = [], 0
    for document, length in enumerate(texts.lengths.tolist()):
        for begin, end in cuts(length, capacity, even):
            ids, words, word = [CLS_SEP[0]], [-1], -1
            for place in range(begin, end):
                token = offset + place
                if place == begin or texts.word_starts[token]:
                    word += 1
                ids.append(int(texts.input_ids[token]))
                words.append(-1 if texts.special[token] else word)
            examples.append(([*ids, CLS_SEP[1]], [*words, -1], document))
        offset += length
    return examples


@settings(deadline=None)
@given(lengths=LENGTHS, length=st.integers(8, 24), seed=st.integers(0, 100))
def test_examples_equal_their_slow_twin(lengths: list[int], length: int, seed: int) -> None:
    texts = encoded(lengths, seed)
    built = build_examples(texts, np.zeros(len(lengths), np.int64), length, "none", CLS_SEP)
    ids = to_list_array(built.input_ids, built.lengths).to_pylist()
    words = to_list_array(built.word_ids, built.lengths).to_pylist()
    documents = built.documents.tolist()
    assert list(zip(ids, words, documents, strict=True)) == slow_examples(texts, length - 2, True)


@settings(deadline=None)
@given(lengths=LENGTHS, seed=st.integers(0, 100))
def test_packed_examples_hold_the_same_segments(lengths: list[int], seed: int) -> None:
    texts = encoded(lengths, seed)
    topics = np.random.default_rng(seed).integers(0, 3, len(lengths))
    packed = build_examples(texts, topics, 32, "documents", CLS_SEP)
    found, first_segment, end = [], 0, 0
    for length, count in zip(packed.lengths, packed.num_segments, strict=True):
        start, end = end, end + int(length)
        assert length <= 32
        segments = packed.segment_ids[start:end]
        words = packed.word_ids[start:end]
        assert (np.diff(words[words >= 0]) >= 0).all()
        for segment in range(count):
            ids = packed.input_ids[start:end][segments == segment].tolist()
            document = int(packed.documents[first_segment + segment])
            found.append((ids, document))
        own = packed.documents[first_segment : first_segment + count]
        assert len(set(topics[own].tolist())) == 1
        first_segment += int(count)
    expected = [(ids, document) for ids, _, document in slow_examples(texts, 30, False)]
    assert sorted(found) == sorted(expected)


def slow_blocks(texts: EncodedTexts, length: int) -> list[tuple[list[int], list[int], list[int]]]:
    """(tokens, documents of the segments, segment of each token) of each block."""
    stream, start = [], 0
    for document, size in enumerate(texts.lengths.tolist()):
        if size:
            own = texts.input_ids[start : start + size].tolist()
            stream += [(token, document) for token in [*own, CLS_SEP[1]]]
        start += size
    blocks = []
    for begin in range(0, len(stream), length):
        block = stream[begin : begin + length]
        documents = list(dict.fromkeys(document for _, document in block))
        tokens = [token for token, _ in block]
        blocks.append((tokens, documents, [documents.index(document) for _, document in block]))
    return blocks


@settings(deadline=None)
@given(lengths=LENGTHS, length=st.integers(8, 24), seed=st.integers(0, 100))
def test_blocks_equal_their_slow_twin(lengths: list[int], length: int, seed: int) -> None:
    texts = encoded(lengths, seed)
    built = build_examples(texts, np.zeros(len(lengths), np.int64), length, "blocks", CLS_SEP)
    ids = to_list_array(built.input_ids, built.lengths).to_pylist()
    documents = to_list_array(built.documents, built.num_segments).to_pylist()
    segments = to_list_array(built.segment_ids, built.lengths).to_pylist()
    assert list(zip(ids, documents, segments, strict=True)) == slow_blocks(texts, length)
    words = to_list_array(built.word_ids, built.lengths).to_pylist()
    special = dict(zip(texts.input_ids.tolist(), texts.special.tolist(), strict=True))
    begins = dict(zip(texts.input_ids.tolist(), texts.word_starts.tolist(), strict=True))
    for tokens, own, segment in zip(ids, words, segments, strict=True):
        assert [word < 0 for word in own] == [special.get(token, True) for token in tokens]
        for i in range(1, len(tokens)):
            if own[i] >= 0 and own[i - 1] >= 0:
                apart = begins[tokens[i]] or segment[i] != segment[i - 1]
                assert (own[i] != own[i - 1]) == apart
