"""A document of the corpus, in memory and in Parquet."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

SPLITS = ("train", "validation", "test", "probe")
METADATA = pa.map_(pa.string(), pa.string())
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("topic", pa.string()),
        pa.field("date", pa.date32()),
        pa.field("source", pa.string(), nullable=False),
        pa.field("group", pa.string(), nullable=False),
        pa.field("metadata", METADATA),
    ]
)
ROW_GROUP_DOCUMENTS = 1024

Wanted = Callable[[str], bool]
"""Asked by a source about one of its topics: False when documents of it would be thrown away."""


@dataclass(frozen=True, slots=True)
class Document:
    """One text as a source gives it.

    Attributes:
        id: unique in the source.
        topic: None where the source has no label.
        date: None where the source has none.
        source: what the text was taken from (package, file, dataset).
        group: what documents of one origin share (an author, a module, an address, a thread);
            a group never straddles two splits.
        metadata: (column, value) of what else the source was asked to carry.
    """

    id: str
    text: str
    topic: str | None
    date: date | None
    source: str
    group: str
    metadata: tuple[tuple[str, str], ...] = ()

    def with_topic(self, topic: str) -> "Document":
        """Returns the same document under another topic."""
        return self if topic == self.topic else replace(self, topic=topic)


def valid_text(text: str) -> str:
    """Makes a text valid UTF-8 without NUL, stripped; every other character is data and stays.

    Surrogate pairs are joined; a lone surrogate becomes U+FFFD.
    """
    text = text.replace("\0", "")
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text.strip()


class DocumentWriter:
    """Writes documents to Parquet files, a row group at a time, in a context.

    Args:
        paths: the files, in order; each but the last takes `documents_per_file`.
        documents_per_file: when to go on to the next file; None = one file takes all.
    """

    def __init__(self, paths: Iterable[Path], documents_per_file: int | None = None) -> None:
        self._paths = iter(paths)
        self._limit = documents_per_file
        self._rows: list[Document] = []
        self._in_file = 0
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> "DocumentWriter":
        self._open_next()
        return self

    def write(self, document: Document) -> None:
        """Adds one document."""
        if self._in_file == self._limit:
            self._close()
            self._open_next()
        self._rows.append(document)
        self._in_file += 1
        if len(self._rows) == ROW_GROUP_DOCUMENTS:
            self._flush()

    def _open_next(self) -> None:
        self._writer = pq.ParquetWriter(next(self._paths), SCHEMA, compression="zstd")
        self._in_file = 0

    def _flush(self) -> None:
        assert self._writer is not None
        columns = {name: [getattr(row, name) for row in self._rows] for name in SCHEMA.names}
        self._writer.write_table(pa.table(columns, schema=SCHEMA))
        self._rows.clear()

    def _close(self) -> None:
        if self._rows:
            self._flush()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._rows.clear()
        self._close()


def read_documents(path: Path) -> Iterator[Document]:
    """Streams the documents of one Parquet file, a row group in memory at a time."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(ROW_GROUP_DOCUMENTS):
            for row in zip(*(batch.column(name).to_pylist() for name in SCHEMA.names), strict=True):
                values = dict(zip(SCHEMA.names, row, strict=True))
                yield Document(**values | {"metadata": tuple(values["metadata"])})


def shard_paths(folder: Path, split: str, num_documents: int, per_shard: int) -> list[Path]:
    """Names the files of a split, e.g. `train-00000-of-00002.parquet` (at least one)."""
    count = max(1, -(-num_documents // per_shard))
    return [folder / f"{split}-{index:05d}-of-{count:05d}.parquet" for index in range(count)]
