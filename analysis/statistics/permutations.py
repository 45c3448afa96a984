"""Documents relabelled at random: the one null distribution behind every p-value.

A permutation keeps the documents and the size of every topic and shuffles which document carries
which topic, so whatever ties the tokens of one document together stays in the null.
"""

import itertools
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy import sparse

MIN_DOCUMENTS_FOR_P = 10  # per topic; below, no p-value is given
MIN_DOCUMENTS_FOR_TRUST = 30  # per topic; below, a warning is given
CACHE_BYTES = 2**21  # of the sums of one batch of permutations: a core's second-level cache
TIE = 1e-5  # relative; what sums in float32 differ by through rounding alone


def document_orders(
    generator: np.random.Generator, documents: int, permutations: int
) -> np.ndarray:
    """Draws P orders of D documents, the one set that serves every test: (P, D) row numbers."""
    rows = np.broadcast_to(np.arange(documents, dtype=np.int32), (permutations, documents))
    return generator.permuted(rows, axis=1)


def permuted_topics(orders: np.ndarray, topic_ids: np.ndarray) -> np.ndarray:
    """Gives each document the topic that an order puts in its place: (P, D)."""
    permuted: np.ndarray = topic_ids.astype(np.int32)[orders]
    return permuted


def topic_sums(values: np.ndarray, topic_ids: np.ndarray, num_topics: int) -> np.ndarray:
    """Adds per-document values (D, …) over the documents of each topic: (T, …).

    Whole numbers come out as int64, whatever their own type could hold.
    """
    wide = np.int64 if np.issubdtype(values.dtype, np.integer) else values.dtype
    sums = np.zeros((num_topics, *values.shape[1:]), dtype=wide)
    order = np.argsort(topic_ids, kind="stable")
    present, starts = np.unique(topic_ids[order], return_index=True)
    if len(present):
        sums[present] = np.add.reduceat(values[order], starts, axis=0, dtype=wide)
    return sums


def permuted_sums(
    values: np.ndarray, permuted: np.ndarray, num_topics: int
) -> Iterator[np.ndarray]:
    """Adds per-document values by permuted topic, batch by batch.

    A sparse product, document by document: each row of values is read once per batch and added to
    its topic in every permutation, whose sums stay in the cache meanwhile.

    Args:
        values: (D, C) per-document values, float.
        permuted: (P, D) topic of each document under each permutation.
        num_topics: T.

    Yields:
        (B, T, C) sums for the next B permutations, in the type of `values`.
    """
    permutations, documents = permuted.shape
    values = np.ascontiguousarray(values)
    bytes_each = num_topics * values.shape[1] * values.itemsize
    batch = max(1, min(permutations, CACHE_BYTES // max(1, bytes_each)))
    pointers = np.arange(documents + 1)

    def sums(topics: np.ndarray) -> np.ndarray:
        rows = topics.T + num_topics * np.arange(len(topics))  # (D, B) rows of the sums
        indicator = sparse.csc_array(
            (np.ones(rows.size, values.dtype), rows.ravel(), pointers * len(topics)),
            shape=(len(topics) * num_topics, documents),
        )
        added: np.ndarray = (indicator @ values).reshape(len(topics), num_topics, -1)
        return added

    if batch >= permutations:  # threads would cost more than they save
        yield sums(permuted)
        return
    cores = os.cpu_count() or 1
    parts = (permuted[start : start + batch] for start in range(0, permutations, batch))
    with ThreadPoolExecutor(cores) as pool:  # the product lets go of the interpreter's lock
        while together := list(itertools.islice(parts, cores)):
            yield from pool.map(sums, together)


def permutation_p(observed: np.ndarray, null: np.ndarray) -> np.ndarray:
    """Share of permutations at least as large: (b + 1) / (P + 1).

    Phipson and Smyth (2010), arXiv 1603.05766: never zero.

    Args:
        observed: (…) statistics.
        null: (P, …) the same under each permutation.
    """
    tolerance = TIE * np.maximum(1.0, np.abs(observed))  # ties up to rounding count as ties
    exceeding = (null >= observed - tolerance).sum(axis=0)
    return (exceeding + 1) / (len(null) + 1)


def family_wise_p(observed: np.ndarray, null: np.ndarray) -> np.ndarray:
    """P-values adjusted for the whole family by its largest statistic (Westfall and Young 1993).

    Args:
        observed: (…) statistics on one scale.
        null: (P, …) the same under each permutation.
    """
    largest = null.reshape(len(null), -1).max(axis=1)
    return permutation_p(observed, largest.reshape(-1, *(1,) * observed.ndim))
