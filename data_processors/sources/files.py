"""Source `files`: JSON Lines, CSV, Parquet, plain text, or one folder of .txt files per topic."""

import codecs
import csv
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ...configs.errors import UserError
from ...configs.manifest import hash_file
from ...configs.schema_corpus import FilesSource
from ..documents import Document, Wanted, valid_text
from ..topics import UNLABELLED
from .records import Columns, TableColumns, to_document

FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
}

EMPTY_LINE = re.compile(r"\n[ \t]*\n")
Row = tuple[str, Mapping[str, Any]]  # "line 3" or "row 3", values by column


def read_files(source: FilesSource, wanted: Wanted) -> Iterator[Document]:
    """Yields the documents of all files, in the order of their names.

    Raises:
        UserError: an unreadable file, line or value; names the file and the line or row.
    """
    root = Path(source.path).expanduser()
    if _format(source, root) == "folders":
        yield from _read_folders(source, root, wanted)
        return
    if _format(source, root) == "text":
        yield from _read_texts(source, root, wanted)
        return
    columns = Columns(
        source.text_column,
        source.topic_column,
        source.date_column,
        source.group_column,
        source.metadata_columns,
    )
    for path in list_files(source):
        name = path.name if path == root else path.relative_to(root).as_posix()
        for place, row in ROW_READERS[_format(source, path)](path, columns, source.encoding):
            document = to_document(
                row,
                columns,
                name=valid_text(f"{name}:{place.split()[-1]}"),
                source=valid_text(name),
                where=f"{path} {place}",
            )
            if document.topic is None or wanted(document.topic):
                yield document


def fingerprint_files(source: FilesSource) -> dict[str, str]:
    """Returns every file's content hash, after checking that there are files and a codec."""
    try:
        "".encode(source.encoding)  # refuses codecs of bytes, too, such as base64
    except LookupError:
        raise UserError(
            f"source.encoding: unknown value {source.encoding!r}; "
            "try utf-8, latin-1, cp1252 or utf-16"
        ) from None
    return {f"file {path.as_posix()}": hash_file(path) for path in list_files(source)}


def list_files(source: FilesSource) -> list[Path]:
    """Lists the files to read, sorted.

    Raises:
        UserError: nothing there, or nothing of a known format.
    """
    root = Path(source.path).expanduser()
    if not root.exists():
        raise UserError(f"source.path={source.path}: no such file or folder")
    if root.is_file():
        _format(source, root)
        return [root]
    kind = _format(source, root)
    if kind == "text":
        found = sorted(path for path in root.rglob("*.txt") if path.is_file())
    elif kind == "folders":
        found = sorted(path for path in root.glob("*/**/*.txt") if path.is_file())
    else:
        found = sorted(p for p in root.rglob("*") if p.is_file() and _matches(p, source.format))
    if not found:
        wanted = ".txt files in one sub-folder per topic" if kind == "folders" else f"{kind} files"
        raise UserError(f"source.path={source.path}: no {wanted} there")
    return found


def _matches(path: Path, wanted: str) -> bool:
    return FORMATS.get(path.suffix.lower()) == wanted or (
        wanted == "auto" and path.suffix.lower() in FORMATS
    )


def _format(source: FilesSource, path: Path) -> str:
    """Says how to read a file, or whether a folder is one of topics."""
    if source.format != "auto":
        return source.format
    if path.is_dir():
        tables = any(p.suffix.lower() in FORMATS for p in path.rglob("*"))
        return "auto" if tables else "folders"
    if path.suffix.lower() == ".txt":
        return "text"
    if path.suffix.lower() not in FORMATS:
        raise UserError(
            f"source.path={path}: cannot tell the format from {path.suffix or 'no ending'!r}; name "
            f"it {', '.join(FORMATS)}, .txt, or set source.format"
        )
    return FORMATS[path.suffix.lower()]


def _text_encoding(encoding: str) -> str:
    """Lets UTF-8 files start with a byte-order mark."""
    return "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding


def _undecodable(path: Path, encoding: str, error: UnicodeDecodeError) -> UserError:
    """Finds the first line that does not decode."""
    decoder = codecs.getincrementaldecoder(encoding)()
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                decoder.decode(line)
            except UnicodeDecodeError as found:
                byte = found.object[found.start]
                return UserError(
                    f"{path} line {number}: byte 0x{byte:02x} is not {encoding}; set "
                    "source.encoding (latin-1, cp1252, utf-16, ...) or convert the file"
                )
    return UserError(f"{path}: not {encoding} ({error.reason} at the end); set source.encoding")


def _read_json_lines(path: Path, columns: TableColumns, encoding: str) -> Iterator[Row]:
    number = 0
    try:
        with path.open(encoding=_text_encoding(encoding), newline="\n") as stream:
            for number, line in enumerate(stream, start=1):
                if not line.strip():
                    continue
                place = f"line {number}"
                row = _parse_json(line, f"{path} {place}")
                columns.check(row, f"{path} {place}")
                yield place, row
    except UnicodeDecodeError as error:
        raise _undecodable(path, encoding, error) from error


def _parse_json(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        reason = f"{error.msg} at column {error.colno}"
        raise UserError(f"{where}: not valid JSON ({reason}); one object per line") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not readable JSON ({error}); one object per line") from error
    if not isinstance(row, dict):
        kind = type(row).__name__
        raise UserError(f"{where}: a JSON {kind}, not an object; one object per line")
    return row


def _read_csv(path: Path, columns: TableColumns, encoding: str) -> Iterator[Row]:
    csv.field_size_limit(sys.maxsize)
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    try:
        with path.open(encoding=_text_encoding(encoding), newline="") as stream:
            reader = csv.DictReader(stream, delimiter=delimiter, strict=True)
            if reader.fieldnames is None:
                return
            columns.check(reader.fieldnames, f"{path} line 1")
            for row in reader:
                place = f"line {reader.line_num}"
                if None in row or None in row.values():
                    count = len(reader.fieldnames)
                    raise UserError(f"{path} {place}: not the {count} fields that line 1 names")
                yield place, row
    except csv.Error as error:
        raise UserError(f"{path} line {reader.line_num}: not valid CSV ({error})") from error
    except UnicodeDecodeError as error:
        raise _undecodable(path, encoding, error) from error


def _read_parquet(path: Path, columns: TableColumns, encoding: str) -> Iterator[Row]:
    try:
        with pq.ParquetFile(path) as file:
            columns.check(file.schema_arrow.names, str(path))
            number = 0
            for batch in file.iter_batches(1024, columns=columns.names()):
                for row in batch.to_pylist():
                    number += 1
                    yield f"row {number}", row
    except pa.ArrowException as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: not a readable Parquet file ({reason})") from error


ROW_READERS: dict[str, Callable[[Path, TableColumns, str], Iterator[Row]]] = {
    "jsonl": _read_json_lines,
    "csv": _read_csv,
    "parquet": _read_parquet,
}


def _read_folders(source: FilesSource, root: Path, wanted: Wanted) -> Iterator[Document]:
    for path in list_files(source):
        name = valid_text(path.relative_to(root).as_posix())
        topic = name.partition("/")[0]
        if not wanted(topic):
            continue
        text = _read_text(path, source.encoding)
        yield Document(name, text, topic, None, valid_text(root.name), name)


def _read_texts(source: FilesSource, root: Path, wanted: Wanted) -> Iterator[Document]:
    """Cuts plain texts at empty lines; with several files, a file is a topic."""
    paths = list_files(source)
    for path in paths:
        topic = UNLABELLED if len(paths) == 1 else valid_text(path.stem)
        if not wanted(topic):
            continue
        text = _read_text(path, source.encoding)
        paragraphs = [part for part in EMPTY_LINE.split(text) if part.strip()]
        for start in range(0, len(paragraphs), source.paragraphs):
            name = f"{valid_text(path.name)}:{start + 1}"
            own = "\n\n".join(paragraphs[start : start + source.paragraphs])
            yield Document(name, own, topic, None, valid_text(path.name), name)


def _read_text(path: Path, encoding: str) -> str:
    try:
        return path.read_text(encoding=_text_encoding(encoding))
    except UnicodeDecodeError as error:
        raise _undecodable(path, encoding, error) from error
