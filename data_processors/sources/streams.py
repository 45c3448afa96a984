"""A stream of rows that may break off: what was read of it is kept, and read on from there.

A folder holds, in the cache of the hub's datasets:

- `part-00000.parquet`, …: the documents that were given out, in their order;
- `state-00000/`, the newest whole one counts: `state.json` (how far the stream was read, and the
  shuffle's random state) and `buffer.parquet` (documents read and not yet given out).
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...configs.manifest import digest, hash_file
from ...configs.progress import console
from ...configs.whole_files import sync_tree
from ..documents import Document, DocumentWriter, read_documents

if TYPE_CHECKING:
    from datasets import IterableDataset

PART_DOCUMENTS = 8192  # a killed process reads so many again, at most
Convert = Callable[[Mapping[str, Any], str], Document | None]


class Stream:
    """Documents of a streamed dataset: its shards and, through a buffer, its rows shuffled.

    The order depends on the dataset, the seed and the buffer's size alone, however often the
    stream broke off.

    Args:
        dataset: of `datasets`, streamed.
        convert: (row, its name) → document, or None for one that is not wanted at all.
        folder: of this stream alone; made when there is something to keep.
        buffer: documents to shuffle among; 0 = the dataset's order.
        seed: of the shuffle.
    """

    def __init__(
        self, dataset: "IterableDataset", convert: Convert, folder: Path, *, buffer: int, seed: int
    ) -> None:
        self._dataset, self._convert, self._folder = dataset, convert, folder
        self._size = buffer
        self._random = np.random.default_rng(seed)
        count = dataset.num_shards
        self._order = self._random.permutation(count) if buffer else np.arange(count)
        self._buffer: list[Document] = []
        self._given: list[Document] = []
        self._parts = self._shard = self._row = 0
        self._inner: Any = None  # where the stream stands in its shard
        self._hashes: dict[str, str] = {}  # of the parts
        self._ended = False

    def documents(self) -> Iterator[Document]:
        """Yields what was read earlier, then what comes, and keeps it.

        Raises:
            Exception: whatever the stream raises when it breaks off; what came before is kept.
        """
        self._restore()
        earlier = 0
        for number in range(self._parts):
            for document in read_documents(self._part(number)):
                earlier += 1
                yield document
        try:
            for document in self._rest(earlier):
                self._given.append(document)
                if len(self._given) == PART_DOCUMENTS:
                    self._save()
                yield document
        finally:  # also where nobody wants more
            self._save()

    def _rest(self, earlier: int) -> Iterator[Document]:
        if self._ended:
            return
        if earlier or self._row or self._shard:
            console.print(
                f"corpus: {earlier:,} documents read earlier are taken from {self._folder}; the "
                f"stream goes on from row {self._row:,} of shard {self._shard + 1:,}",
                markup=False,
                soft_wrap=True,
            )
        for document in self._rows():
            if len(self._buffer) < self._size:
                self._buffer.append(document)
                continue
            if self._size:
                place = int(self._random.integers(self._size))
                document, self._buffer[place] = self._buffer[place], document
            yield document
        while self._buffer:
            yield self._buffer.pop(int(self._random.integers(len(self._buffer))))
        self._ended = True

    def _rows(self) -> Iterator[Document]:
        count = len(self._order)
        while self._shard < count:
            index = int(self._order[self._shard])
            shard = self._dataset.shard(count, index) if count > 1 else self._dataset
            if self._inner is not None:
                shard.load_state_dict(self._inner)
            for row in shard:
                self._inner = shard.state_dict()
                name = f"{index}-{self._row}" if count > 1 else f"{self._row}"
                self._row += 1
                if (document := self._convert(row, name)) is not None:
                    yield document
            self._shard, self._row, self._inner = self._shard + 1, 0, None

    # -- what is kept -----------------------------------------------------------------------------

    def _part(self, number: int) -> Path:
        return self._folder / f"part-{number:05d}.parquet"

    def _states(self) -> list[Path]:
        return sorted(self._folder.glob("state-?????"))

    def _restore(self) -> None:
        """Takes up the newest whole state; a part that it does not name was never finished."""
        for folder in reversed(self._states()):
            try:
                state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
                seal = state.pop("seal")
                if seal != digest(state):
                    raise ValueError("state.json")
                files = {self._folder / name: value for name, value in state["parts"].items()}
                for path, value in (files | {folder / "buffer.parquet": state["buffer"]}).items():
                    if hash_file(path) != value:
                        raise ValueError(path.name)
            except (OSError, ValueError, KeyError, AttributeError) as damage:
                console.print(f"corpus: {folder}: damaged ({damage}); the stream begins anew")
                continue
            self._buffer = list(read_documents(folder / "buffer.parquet"))
            self._random.bit_generator.state = state["random"]
            self._hashes, self._parts = state["parts"], len(state["parts"])
            self._shard, self._row = state["shard"], state["row"]
            self._inner, self._ended = state["inner"], state["ended"]
            return

    def _save(self) -> None:
        """Writes what was given out since the last time, and where the stream stands."""
        if not self._row and not self._shard and not self._parts:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._given:
            part = self._part(self._parts)
            _write(part, self._given)
            self._hashes[part.name] = hash_file(part)
            self._parts += 1
            self._given = []
        states = self._states()
        number = int(states[-1].name[-5:]) + 1 if states else 0
        partial = self._folder / ".state.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        _write(partial / "buffer.parquet", self._buffer)
        state = {
            "parts": self._hashes,
            "buffer": hash_file(partial / "buffer.parquet"),
            "shard": self._shard,
            "row": self._row,
            "inner": self._inner,
            "ended": self._ended,
            "random": self._random.bit_generator.state,
        }
        state["seal"] = digest(json.loads(json.dumps(state)))
        (partial / "state.json").write_text(json.dumps(state), encoding="utf-8")
        sync_tree(self._folder)
        partial.rename(self._folder / f"state-{number:05d}")
        for old in states:
            shutil.rmtree(old, ignore_errors=True)


def _write(path: Path, documents: list[Document]) -> None:
    """Writes documents as they are: a topic may be missing."""
    with DocumentWriter([path]) as writer:
        for document in documents:
            writer.write(document)
