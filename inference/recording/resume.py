"""Saves a pass while it runs, so that it can be resumed, and so that shards can be merged.

The saves lie in a folder beside the store. Each one adds the documents and the sample of the chunks
since the save before, and writes the tables of all chunks so far. It counts once `state.json` is
replaced, so the process may be killed at any moment. All sums are exact: a resumed pass writes the
same store, to the last bit.
"""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ...configs.ownership import make_ours, remove_ours
from ...configs.progress import console
from ...configs.whole_files import write_json
from .recorder import RoutingRecorder

STATE_FILE = "state.json"
SAVE_EVERY_S = 30.0


@dataclass(frozen=True)
class Recorded:
    """What was saved of a pass.

    Attributes:
        chunks: number of the last chunk that was recorded.
        num_tokens: real tokens of the recorded chunks.
        documents: one batch of rows of documents.parquet per chunk, in order; the files
            are memory-mapped.
        samples: pieces of the token sample, as `TokenSample.pieces` gives them.
        sums: the tables' sums, as `RoutingTables.sums` gives them.
        has_confidence: whether every router's distribution was known.
    """

    chunks: int
    num_tokens: int
    documents: list[pa.RecordBatch]
    samples: list[dict[str, np.ndarray]]
    sums: dict[str, np.ndarray]
    has_confidence: bool

    def restore(self, recorder: RoutingRecorder) -> None:
        """Adds all but the documents to a recorder."""
        for columns in self.samples:
            recorder.sample.add(**columns)
        recorder.tables.merge(self.sums, has_confidence=self.has_confidence)
        recorder.num_tokens += self.num_tokens


class SavedPass:
    """The saves of one pass; a new one is made at the end of a chunk, at most every 30 seconds.

    Args:
        folder: where the saves lie; made by the first one.
        key: hash of all that decides the store; saves under another key are thrown away.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.folder, self.key = folder, key
        self._saves: list[int] = []
        self._waiting: list[pa.RecordBatch] = []
        self._num_sampled = 0  # pieces of the sample that are saved
        self._saved_at = time.monotonic()

    def part(self, name: str) -> "SavedPass":
        """Returns the saves of one process' shard; they lie beside `folder`."""
        return SavedPass(self.folder.with_name(f"{self.folder.name}-{name}"), f"{self.key}/{name}")

    def beside(self, name: str) -> Path:
        """Returns a folder beside the saves for other parts of the pass."""
        return self.folder.with_suffix(f".{name}")

    def load(self) -> Recorded | None:
        """Reads what an interrupted pass with the same key saved; None if there is nothing."""
        try:
            recorded = self._read()
        except FileNotFoundError:
            recorded = None
        except (OSError, ValueError, KeyError, SafetensorError, pa.ArrowInvalid) as error:
            console.print(f"route: starting afresh, {self.folder} is damaged ({error})")
            recorded = None
        if recorded is None:
            self._saves = []
            self.discard()
        else:
            self._num_sampled = len(recorded.samples)
        return recorded

    def chunk_done(self, chunks: int, documents: pa.Table, recorder: RoutingRecorder) -> None:
        """Takes a finished chunk, and saves if the last save is `SAVE_EVERY_S` seconds old.

        Args:
            chunks: the chunk's number; all before it are finished.
            documents: the chunk's documents, as the store has them.
            recorder: holds the sums of the finished chunks and of no other.
        """
        # one batch per chunk: given back in the same pieces, the store has the same bytes
        self._waiting += documents.combine_chunks().to_batches()
        if time.monotonic() - self._saved_at >= SAVE_EVERY_S:
            self.save(chunks, recorder)

    def save(self, chunks: int, recorder: RoutingRecorder) -> None:
        """Saves all chunks up to this number, unless the last save holds them."""
        if self._saves[-1:] == [chunks]:
            return
        if not self.folder.exists():
            make_ours(self.folder, "paths.routing")
        if self._waiting:
            with pa.ipc.new_file(self._documents(chunks), self._waiting[0].schema) as sink:
                for batch in self._waiting:
                    sink.write_batch(batch)
        sampled = recorder.sample.pieces(self._num_sampled)
        if sampled:
            save_file(sampled, self._sample(chunks))
        save_file(recorder.tables.sums(), self._tables(chunks))
        state = {
            "key": self.key,
            "saves": [*self._saves, chunks],
            "num_tokens": recorder.num_tokens,
            "has_confidence": recorder.tables.has_confidence,
        }
        write_json(self.folder / STATE_FILE, state)
        for older in self._saves[-1:]:
            self._tables(older).unlink()
        self._saves.append(chunks)
        self._waiting, self._num_sampled = [], recorder.sample.num_pieces
        self._saved_at = time.monotonic()

    def discard(self) -> None:
        """Removes the saves and those of shards: the store is complete, or they are of no use."""
        if self.folder.parent.is_dir():
            beside = list(self.folder.parent.iterdir())
            shards = [path for path in beside if path.name.startswith(f"{self.folder.name}-")]
            for folder in (self.folder, *shards):
                remove_ours(folder, "paths.routing")

    def _read(self) -> Recorded | None:
        """Reads every file before any is used: if one is damaged, the pass starts anew."""
        state = json.loads((self.folder / STATE_FILE).read_text(encoding="utf-8"))
        if state["key"] != self.key:
            return None
        self._saves = state["saves"]
        batches = []
        for chunks in self._saves:
            if self._documents(chunks).exists():
                reader = pa.ipc.open_file(pa.memory_map(str(self._documents(chunks))))
                batches += [reader.get_batch(i) for i in range(reader.num_record_batches)]
        files = [self._sample(chunks) for chunks in self._saves]
        return Recorded(
            chunks=self._saves[-1],
            num_tokens=state["num_tokens"],
            documents=batches,
            samples=[load_file(file) for file in files if file.exists()],
            sums=load_file(self._tables(self._saves[-1])),
            has_confidence=state["has_confidence"],
        )

    def _documents(self, chunks: int) -> Path:
        return self.folder / f"documents-{chunks}.arrow"

    def _sample(self, chunks: int) -> Path:
        return self.folder / f"sample-{chunks}.safetensors"

    def _tables(self, chunks: int) -> Path:
        return self.folder / f"tables-{chunks}.safetensors"


def in_order(batches: Iterable[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """Sorts chunks as one pass would write them; no document is in two chunks."""
    return sorted(batches, key=lambda batch: batch.column("document")[0].as_py())
