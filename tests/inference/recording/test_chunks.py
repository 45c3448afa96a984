"""Chunks hold whole documents, every example once."""

from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from moescope.inference.recording.chunks import count_ids, iterate_chunks


@pytest.mark.parametrize(
    "documents",
    [
        [[0], [0], [0], [1], [2], [2], [3], [4], [4]],
        [[3, 0], [1, 2], [2, 0], [5], [4], [6, 8], [7]],  # packed: order only within a stretch
        [[0], [0], [0]],
    ],
)
@pytest.mark.parametrize("min_examples", [1, 2, 4, 100])
def test_chunks_cover_each_example_once_and_documents_whole(
    tmp_path: Path, documents: list[list[int]], min_examples: int
) -> None:
    lengths = np.array([(7 * i) % 5 + 1 for i in range(len(documents))])
    Dataset.from_dict({"documents": documents}).save_to_disk(str(tmp_path))
    chunks = list(iterate_chunks(tmp_path, lengths, min_examples))
    assert sorted(np.concatenate([c.examples for c in chunks])) == list(range(len(documents)))
    done = -1
    for chunk in chunks:
        inside = {d for row in chunk.examples for d in documents[row]}
        assert chunk.first_document == min(inside) == done + 1
        assert chunk.last_document == max(inside)
        assert (np.diff(lengths[chunk.examples]) >= 0).all()
        done = chunk.last_document
    assert all(len(chunk.examples) >= min_examples for chunk in chunks[:-1])


def test_ids_are_counted_exactly(tmp_path: Path) -> None:
    rows = [[1, 2, 2], [5], [2, 1]]
    Dataset.from_dict({"input_ids": rows, "documents": [[0]] * 3}).save_to_disk(str(tmp_path))
    assert count_ids(tmp_path, 7).tolist() == [0, 2, 3, 0, 0, 1, 0]
