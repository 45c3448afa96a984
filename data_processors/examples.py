"""The masked dataset as a torch Dataset whose rows are views of memory-mapped Arrow files."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from datasets import load_from_disk
from numpy.typing import NDArray
from torch.utils.data import Dataset

from ..configs.errors import UserError

Row = dict[str, Any]
LIST_COLUMNS = (
    "input_ids",
    "word_ids",
    "documents",
    "segment_ids",
    "corrupted_ids",
    "mask_kind",
)


class ExampleDataset(Dataset):
    """The examples of one split, in the order of the disk.

    A row holds `example_id`, `epoch` and, as numpy views, the list columns of docs/contracts.md.
    The epoch lies in shared memory: workers that outlive an epoch see the next one too.
    Pickles as its path, so a worker maps the files itself.

    Attributes:
        lengths: (B,) int32, tokens of each example.
        document_topics: (D,) int32, topic id of each document.
        example_documents: (B,) int32, (first) document of each example.
        metadata_ids: (D,) int64, number of each document's metadata value
            (`metadata_values.metadata_ids`); None for models without a masked router, and then
            rows have no `metadata_ids`.
    """

    metadata_ids: NDArray[np.int64] | None = None

    def __init__(self, folder: Path, split: str) -> None:
        """Opens `folder/split` (`folder` is what the mask stage wrote).

        Raises:
            UserError: there is no such split.
        """
        self.folder, self.split = Path(folder), split
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()
        self._open()

    def _open(self) -> None:
        place = self.folder / self.split
        if not place.is_dir():
            raise UserError(f"{place}: no such split; run `moescope mask` first")
        table: pa.Table = load_from_disk(str(place)).data.table
        self._columns = {
            name: [(chunk.offsets.to_numpy(), chunk.values.to_numpy()) for chunk in column.chunks]
            for name, column in zip(table.column_names, table.columns, strict=True)
            if name in LIST_COLUMNS
        }
        chunk_lengths = [len(chunk) for chunk in table.column("example_id").chunks]
        self._chunk_starts = np.cumsum([0, *chunk_lengths])
        self._example_ids = table.column("example_id").to_numpy()
        self.lengths: NDArray[np.int32] = table.column("length").to_numpy()
        documents = pq.read_table(
            self.folder / f"documents-{self.split}.parquet", columns=["topic_id"]
        )
        self.document_topics: NDArray[np.int32] = documents.column("topic_id").to_numpy()
        firsts = [values[offsets[:-1]] for offsets, values in self._columns["documents"]]
        self.example_documents = np.concatenate([np.empty(0, np.int32), *firsts])

    @property
    def epoch(self) -> int:
        """Epoch that decides the masks of the rows fetched from now on."""
        return int(self._epoch[0])

    def set_epoch(self, epoch: int) -> None:
        """Called by the Trainer before every epoch."""
        self._epoch[0] = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> Row:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[Row]:
        """Fetches a batch; torch's DataLoader calls this instead of one `__getitem__` each."""
        chosen = np.asarray(indices, np.int64)
        epoch = self.epoch
        chunks = np.searchsorted(self._chunk_starts, chosen, side="right") - 1
        places = (chosen - self._chunk_starts[chunks]).tolist()
        rows: list[Row] = [
            {"example_id": example_id, "epoch": epoch} for example_id in self._example_ids[chosen]
        ]
        for name, column in self._columns.items():
            for row, chunk, place in zip(rows, chunks.tolist(), places, strict=True):
                offsets, values = column[chunk]
                row[name] = values[offsets[place] : offsets[place + 1]]
        if self.metadata_ids is not None:
            for row in rows:
                row["metadata_ids"] = self.metadata_ids[row["documents"]]
        return rows

    def __getstate__(self) -> dict[str, Any]:
        kept = ("folder", "split", "_epoch", "metadata_ids")
        return {name: getattr(self, name) for name in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()
