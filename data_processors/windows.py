"""Windows: cuts documents to the sequence length, packs them by topic, or lays them in blocks."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .tokenizers import EncodedTexts

Ints = NDArray[np.int64]
SHORTEST_TAIL = 8  # tokens


@dataclass(frozen=True)
class Segments:
    """Cuts of documents: consecutive ranges of the encoded texts, none of them empty.

    Attributes:
        documents: (G,) text of each segment.
        starts: (G,) first token, in the texts laid end to end.
        lengths: (G,) content tokens.
    """

    documents: Ints
    starts: Ints
    lengths: Ints


def cut_documents(lengths: Ints, capacity: int, *, even: bool) -> Segments:
    """Cuts n tokens into ceil(n / capacity) windows; no token is lost, none is seen twice.

    Args:
        lengths: (D,) tokens of each text; an empty one gives no window.
        capacity: tokens of a window at most.
        even: the windows of a text differ by one token at most. Otherwise (what packs better)
            all but the last are full, or nearly: the last takes tokens from the one before
            until it has 8.
    """
    counts = -(-lengths // capacity)
    documents = np.repeat(np.arange(len(lengths)), counts)
    part = np.arange(len(documents)) - np.repeat(np.cumsum(counts) - counts, counts)
    size, count = lengths[documents], counts[documents]

    def boundary(part: Ints) -> Ints:
        if even:
            return part * size // count
        full, latest = part * capacity, size - min(SHORTEST_TAIL, capacity // 2)
        return np.where(part == count - 1, np.minimum(full, latest), full).clip(0, size)

    begin, end = boundary(part), boundary(part + 1)
    offsets = np.cumsum(lengths) - lengths
    return Segments(documents, offsets[documents] + begin, end - begin)


def pack_segments(lengths: Ints, topic_ids: Ints, capacity: int) -> list[list[int]]:
    """Fills examples greedily with segments of one topic.

    Each example starts with the longest segment that is left and takes the longest that still
    fits, until none does. Topics and equal lengths go in order, so the result is fixed.

    Args:
        lengths: (G,) tokens of each segment, its special tokens included; at most `capacity`.
        topic_ids: (G,).
        capacity: tokens of an example.

    Returns:
        The segments of each example.
    """
    by_topic: dict[int, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for segment in range(len(lengths) - 1, -1, -1):  # reversed: pop() takes the first
        by_topic[int(topic_ids[segment])][int(lengths[segment])].append(segment)
    examples = []
    for topic_id in sorted(by_topic):
        waiting = by_topic[topic_id]
        sizes = sum(1 << size for size in waiting)  # bit n: a segment of n tokens is left
        while sizes:
            example, space = [], capacity
            while fitting := sizes & ((1 << (space + 1)) - 1):
                size = fitting.bit_length() - 1
                example.append(waiting[size].pop())
                space -= size
                if not waiting[size]:
                    sizes ^= 1 << size
            examples.append(example)
    return examples


@dataclass(frozen=True)
class Examples:
    """Examples laid end to end (N tokens, special ones included).

    Attributes:
        input_ids: (N,).
        word_ids: (N,) word number inside the example; -1 for special tokens.
        segment_ids: (N,) segment number inside the example.
        lengths: (B,) tokens of each example.
        documents: (G,) document of each segment, examples end to end.
        num_segments: (B,) segments of each example.
    """

    input_ids: NDArray[np.int32]
    word_ids: NDArray[np.int32]
    segment_ids: NDArray[np.int16]
    lengths: Ints
    documents: NDArray[np.int32]
    num_segments: Ints


def build_examples(
    texts: EncodedTexts,
    topic_ids: Ints,
    sequence_length: int,
    packing: Literal["none", "documents", "blocks"],
    cls_sep: tuple[int, int],
) -> Examples:
    """Cuts texts into examples.

    Without packing each example is one segment `[CLS] ... [SEP]`; with "documents" it holds many,
    of one topic. "blocks" lays texts end to end, each followed by [SEP], and cuts the whole into
    full examples; the last one holds what is left.

    Args:
        texts: D encoded texts.
        topic_ids: (D,).
        sequence_length: the longest example.
        packing: as in the config's `dataset.packing`.
        cls_sep: the ids around each segment.
    """
    if packing == "blocks":
        return _cut_blocks(texts, sequence_length, cls_sep[1])
    packed = packing == "documents"
    segments = cut_documents(texts.lengths, sequence_length - 2, even=not packed)
    num_segments = np.ones(len(segments.lengths), np.int64)
    if packed:
        bins = pack_segments(segments.lengths + 2, topic_ids[segments.documents], sequence_length)
        order = np.array([segment for example in bins for segment in example], np.int64)
        num_segments = np.array([len(example) for example in bins], np.int64)
        segments = Segments(
            segments.documents[order], segments.starts[order], segments.lengths[order]
        )
    return _lay_out(texts, segments, num_segments, cls_sep)


def _lay_out(
    texts: EncodedTexts, segments: Segments, num_segments: Ints, cls_sep: tuple[int, int]
) -> Examples:
    sizes = segments.lengths + 2
    ends = np.cumsum(sizes)
    input_ids = np.empty(sizes.sum(), np.int32)
    input_ids[ends - sizes], input_ids[ends - 1] = cls_sep
    content = np.ones(len(input_ids), bool)
    content[ends - sizes] = content[ends - 1] = False
    shift = segments.starts - (np.cumsum(segments.lengths) - segments.lengths)
    source = np.arange(segments.lengths.sum()) + np.repeat(shift, segments.lengths)
    input_ids[content] = texts.input_ids[source]

    word_starts = np.zeros(len(input_ids), bool)
    word_starts[content] = texts.word_starts[source]
    word_starts[ends - sizes + 1] = True  # a cut inside a word begins a new one
    special = ~content
    special[content] = texts.special[source]
    first_segments = np.cumsum(num_segments) - num_segments
    lengths = np.add.reduceat(sizes, first_segments) if len(sizes) else sizes
    words = np.cumsum(word_starts)
    words -= np.repeat(words[np.cumsum(lengths) - lengths], lengths) + 1
    number = np.arange(len(sizes)) - np.repeat(first_segments, num_segments)
    return Examples(
        input_ids,
        np.where(special, -1, words).astype(np.int32),
        np.repeat(number, sizes).astype(np.int16),
        lengths,
        segments.documents.astype(np.int32),
        num_segments,
    )


def _cut_blocks(texts: EncodedTexts, sequence_length: int, end_id: int) -> Examples:
    documents = np.flatnonzero(texts.lengths)  # an empty text leaves no end token behind
    sizes = texts.lengths[documents] + 1
    ends = np.cumsum(sizes)
    content = np.ones(sizes.sum(), bool)
    content[ends - 1] = False
    input_ids = np.full(len(content), end_id, np.int32)
    input_ids[content] = texts.input_ids
    special = ~content
    special[content] = texts.special
    word_starts = np.zeros(len(content), bool)
    word_starts[content] = texts.word_starts

    block_starts = np.arange(0, len(content), sequence_length)
    block_of_token = np.arange(len(content)) // sequence_length
    document_of_token = np.repeat(np.arange(len(sizes)), sizes)
    segment_starts = np.union1d(block_starts, ends[:-1])
    segments_before = np.searchsorted(segment_starts, block_starts)
    word_starts[segment_starts] = True  # a cut inside a word begins a new one
    words, segments = np.cumsum(word_starts), np.zeros(len(content), np.int64)
    segments[segment_starts] = 1
    segments = np.cumsum(segments) - 1 - segments_before[block_of_token]
    words -= words[block_starts][block_of_token]
    return Examples(
        input_ids,
        np.where(special, -1, words).astype(np.int32),
        segments.astype(np.int16),
        np.diff(block_starts, append=len(content)),
        documents[document_of_token[segment_starts]].astype(np.int32),
        np.diff(segments_before, append=len(segment_starts)),
    )


def to_list_array(values: NDArray[np.generic], lengths: Ints) -> pa.ListArray:
    """Wraps values laid end to end as one list per row, without copying them."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, pa.array(values))
