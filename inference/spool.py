"""What a pass that is cut short leaves behind, so that the next one goes on where it was.

The folder lies beside the store while the pass runs. A save adds the documents and the sample of
the chunks since the last one and writes the tables anew; replacing `state.json` makes it count, so
a pass may be killed at any moment. All sums are exact: the store is the same to the last bit.
"""

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from configs.progress import console

from .recorder import RoutingRecorder
from .store_writer import StoreWriter

STATE_FILE = "state.json"
SAVE_EVERY_S = 30.0


class Spool:
    """Saves a pass now and then at the end of a chunk.

    Args:
        folder: where; made when there is something to save.
        key: hash of all that decides the store; a spool with another key is thrown away.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self._folder, self._key = folder, key
        self._saves: list[int] = []
        self._waiting: list[pa.RecordBatch] = []
        self._num_sampled = 0  # pieces of the sample that are saved
        self._saved_at = time.monotonic()

    def resume(self, recorder: RoutingRecorder, writer: StoreWriter) -> int:
        """Gives back what an earlier pass recorded; returns the number of chunks it had done."""
        try:
            state, documents, samples, sums = self._load()
        except FileNotFoundError:
            self.discard()
            return 0
        except (OSError, ValueError, KeyError, SafetensorError, pa.ArrowInvalid) as error:
            console.print(f"route: starting afresh, {self._folder} is damaged ({error})")
            self.discard()
            return 0
        if state["key"] != self._key:
            self.discard()
            return 0
        for batch in documents:
            writer.append(pa.Table.from_batches([batch]))
        for columns in samples:
            recorder.sample.add(**columns)
        recorder.tables.restore(sums, has_confidence=state["has_confidence"])
        recorder.num_tokens = state["num_tokens"]
        self._saves, self._num_sampled = state["saves"], len(samples)
        console.print(f"route: going on after {state['num_tokens']:,} tokens ({self._folder})")
        return self._saves[-1]

    def chunk_done(self, chunks: int, documents: pa.Table, recorder: RoutingRecorder) -> None:
        """Takes a chunk's documents and saves, if the last save is `SAVE_EVERY_S` ago.

        Args:
            chunks: how many are done.
            documents: those of this chunk, as the store has them.
            recorder: what it holds belongs to finished chunks.
        """
        # one batch per chunk: given back in the same pieces, the store has the same bytes
        self._waiting += documents.combine_chunks().to_batches()
        if time.monotonic() - self._saved_at >= SAVE_EVERY_S:
            self._save(chunks, recorder)
            self._saved_at = time.monotonic()

    def discard(self) -> None:
        """Removes the spool: the store is complete, or nothing in it is of use."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _save(self, chunks: int, recorder: RoutingRecorder) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._waiting:
            with pa.ipc.new_file(self._documents(chunks), self._waiting[0].schema) as sink:
                for batch in self._waiting:
                    sink.write_batch(batch)
        sampled = recorder.sample.pieces(self._num_sampled)
        if sampled:
            save_file(sampled, self._sample(chunks))
        save_file(recorder.tables.sums(), self._tables(chunks))
        state = {
            "key": self._key,
            "saves": [*self._saves, chunks],
            "num_tokens": recorder.num_tokens,
            "has_confidence": recorder.tables.has_confidence,
        }
        partial = self._folder / f"{STATE_FILE}.partial"
        partial.write_text(json.dumps(state), encoding="utf-8")
        os.replace(partial, self._folder / STATE_FILE)
        for older in self._saves[-1:]:
            self._tables(older).unlink()
        self._saves.append(chunks)
        self._waiting, self._num_sampled = [], recorder.sample.num_pieces

    def _load(
        self,
    ) -> tuple[
        dict[str, Any], list[pa.RecordBatch], list[dict[str, np.ndarray]], dict[str, np.ndarray]
    ]:
        """Reads everything before anything is given back: all of it is whole, or none is used."""
        state = json.loads((self._folder / STATE_FILE).read_text(encoding="utf-8"))
        batches = []
        for chunks in state["saves"]:
            if self._documents(chunks).exists():
                with pa.OSFile(str(self._documents(chunks))) as file:
                    reader = pa.ipc.open_file(file)
                    batches += [reader.get_batch(i) for i in range(reader.num_record_batches)]
        files = [self._sample(chunks) for chunks in state["saves"]]
        samples = [load_file(file) for file in files if file.exists()]
        return state, batches, samples, load_file(self._tables(state["saves"][-1]))

    def _documents(self, chunks: int) -> Path:
        return self._folder / f"documents-{chunks}.arrow"

    def _sample(self, chunks: int) -> Path:
        return self._folder / f"sample-{chunks}.safetensors"

    def _tables(self, chunks: int) -> Path:
        return self._folder / f"tables-{chunks}.safetensors"
