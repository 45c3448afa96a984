"""Writes a routing store."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save_file

from ...configs.whole_files import write_whole
from .schema import (
    DOCUMENT_FIELDS,
    DOCUMENTS_FILE,
    FACTS_FILE,
    SAMPLE_FIELDS,
    SAMPLE_FILE,
    TABLES_FILE,
    StoreFacts,
)


class StoreWriter:
    """Writes a store; documents go to disk as they come, so that memory does not grow with them.

    Use it as a context manager: call `append` any number of times, then `finish` once.
    """

    ROW_GROUP = 4096

    def __init__(self, folder: Path, *, num_layers: int, num_experts: int, num_slots: int) -> None:
        self._folder = folder
        self._slots_size = num_layers * num_slots
        self._waiting: list[pa.Table] = []
        self._num_waiting = 0
        self.num_documents = 0
        self._documents = pq.ParquetWriter(
            folder / DOCUMENTS_FILE, document_schema(num_layers * num_experts)
        )

    def __enter__(self) -> "StoreWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._documents.close()

    def append(self, table: pa.Table) -> None:
        """Appends documents that `document_table` made."""
        self._waiting.append(table)
        self._num_waiting += table.num_rows
        self.num_documents += table.num_rows
        if self._num_waiting >= self.ROW_GROUP:
            self._flush()

    def finish(
        self,
        facts: StoreFacts,
        tables: Mapping[str, np.ndarray],
        sample: Mapping[str, Any],
        experts: np.ndarray,
        weights: np.ndarray,
    ) -> None:
        """Writes everything but the documents.

        Args:
            facts: the axes; its `num_documents` must be the number added.
            tables: name → array of exactly `facts.table_shapes()`.
            sample: the scalar columns of sample.parquet.
            experts: (rows, L, k) chosen experts of each sampled token.
            weights: (rows, L, k) their weights.
        """
        self._flush()
        assert facts.num_documents == self.num_documents, "documents added and announced differ"
        shapes = {name: array.shape for name, array in tables.items()}
        assert shapes == facts.table_shapes(), f"tables do not fit the facts: {shapes}"
        save_file(
            {name: np.ascontiguousarray(array) for name, array in tables.items()},
            self._folder / TABLES_FILE,
        )
        slots = [
            _fixed_lists(experts, pa.int16(), self._slots_size),
            _fixed_lists(weights.astype(np.float16), pa.float16(), self._slots_size),
        ]
        fields = [
            *SAMPLE_FIELDS,
            pa.field("experts", slots[0].type),
            pa.field("weights", slots[1].type),
        ]
        table = pa.Table.from_arrays(
            [*_scalar_columns(sample, SAMPLE_FIELDS), *slots], schema=pa.schema(fields)
        )
        pq.write_table(table, self._folder / SAMPLE_FILE, compression="zstd")
        write_whole(self._folder / FACTS_FILE, facts.model_dump_json(indent=1) + "\n")

    def _flush(self) -> None:
        if self._waiting:
            self._documents.write_table(pa.concat_tables(self._waiting).combine_chunks())
        self._waiting, self._num_waiting = [], 0


def write_frame(frame: pd.DataFrame, fields: list[pa.Field], path: Path) -> None:
    """Writes one of the store's optional files, the columns `fields` of a frame."""
    table = pa.Table.from_pandas(frame, schema=pa.schema(fields), preserve_index=False)
    # pandas' own notes would make the bytes depend on its version
    pq.write_table(table.replace_schema_metadata(None), path)


def document_schema(num_counts: int) -> pa.Schema:
    """Returns the columns of documents.parquet for L x E = `num_counts`."""
    counts = pa.list_(pa.int32(), num_counts)
    lists = [pa.field(name, counts) for name in ("expert_counts", "masked_expert_counts")]
    return pa.schema([*DOCUMENT_FIELDS, *lists])


def document_table(
    columns: Mapping[str, Any], expert_counts: np.ndarray, masked_counts: np.ndarray
) -> pa.Table:
    """Makes rows of documents.parquet.

    Args:
        columns: its scalar columns, as arrays, lists or pyarrow arrays; a `loss` of NaN means that
            the document has no label.
        expert_counts: (D, L, E) choices of untouched tokens.
        masked_counts: (D, L, E) choices of masked tokens.
    """
    size = int(np.prod(expert_counts.shape[1:]))
    lists = [_fixed_lists(counts, pa.int32(), size) for counts in (expert_counts, masked_counts)]
    return pa.Table.from_arrays(
        [*_scalar_columns(columns, DOCUMENT_FIELDS), *lists], schema=document_schema(size)
    )


def _scalar_columns(columns: Mapping[str, Any], fields: list[pa.Field]) -> list[pa.Array]:
    # from_pandas turns NaN into null, which is how "no label" is stored
    return [pa.array(columns[field.name], type=field.type, from_pandas=True) for field in fields]


def _fixed_lists(values: np.ndarray, kind: pa.DataType, size: int) -> pa.Array:
    flat = pa.array(np.ascontiguousarray(values).reshape(-1), type=kind)
    return pa.FixedSizeListArray.from_arrays(flat, size)
