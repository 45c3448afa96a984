"""Writes the masked dataset: Arrow examples that `datasets` loads, and a table of documents."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datasets import DatasetInfo, Features
from numpy.typing import NDArray

from ..configs.errors import UserError, nearest
from ..configs.manifest import hash_file
from ..configs.schema_dataset import DatasetConfig, Masking
from ..configs.whole_files import write_json
from .documents import METADATA
from .masking import Batch, mask_batch
from .tokenizers import TextEncoder, TokenizerFacts
from .windows import Examples, build_examples, to_list_array

DATA_FILE = "data-00000-of-00001.arrow"
COPIED_COLUMNS = {
    "id": pa.string(),
    "topic": pa.string(),
    "date": pa.date32(),
    "source": pa.string(),
    "group": pa.string(),
    "metadata": METADATA,
}
DOCUMENT_SCHEMA = pa.schema(
    {
        "document": pa.int32(),
        **COPIED_COLUMNS,
        "topic_id": pa.int32(),
        "num_tokens": pa.int32(),
        "num_bytes": pa.int64(),
    }
)
FIXED_MASK_EPOCH = 0


def example_schema(packed: bool, masked: bool) -> pa.Schema:
    """Columns of the examples; see docs/contracts.md."""
    columns = {
        "example_id": pa.int64(),
        "input_ids": pa.list_(pa.int32()),
        "word_ids": pa.list_(pa.int32()),
        "documents": pa.list_(pa.int32()),
        "length": pa.int32(),
    }
    if packed:
        columns["segment_ids"] = pa.list_(pa.int16())
    if masked:
        columns["corrupted_ids"] = pa.list_(pa.int32())
        columns["mask_kind"] = pa.list_(pa.int8())
    return pa.schema(columns)


@dataclass(frozen=True, kw_only=True)
class SplitWriter:
    """Tokenises splits batch by batch, so that memory does not grow with the corpus."""

    encoder: TextEncoder
    facts: TokenizerFacts
    topics: list[str]
    dataset: DatasetConfig
    masking: Masking
    seed: int

    def write(
        self,
        batches: Iterable[pa.RecordBatch],
        output_dir: Path,
        split: str,
        advance: Callable[[int], None],
    ) -> dict[str, int]:
        """Writes `<split>/` and `documents-<split>.parquet`.

        Args:
            batches: documents with the corpus' columns.
            output_dir: the dataset's folder.
            split: its name; only `train` may go without fixed masks.
            advance: told how many documents are done.

        Returns:
            Number of `examples`, `tokens` (special ones included) and `documents`.
        """
        packing = self.dataset.packing
        masked = split != "train" or self.dataset.train_masks == "static"
        masked = masked and self.masking.name != "none"
        schema = example_schema(packing != "none", masked)
        folder = output_dir / split
        folder.mkdir()
        counts = {"examples": 0, "tokens": 0, "documents": 0}
        with (
            pa.OSFile(str(folder / DATA_FILE), "wb") as stream,
            pa.ipc.new_stream(stream, schema) as examples,
            pq.ParquetWriter(output_dir / f"documents-{split}.parquet", DOCUMENT_SCHEMA) as table,
        ):
            for batch in batches:
                topic_ids = self._topic_ids(batch["topic"], split)
                texts = self.encoder(batch["text"].to_pylist())
                built = build_examples(
                    texts, topic_ids, self.dataset.sequence_length, packing, self.facts.cls_sep
                )
                first_example, first_document = counts["examples"], counts["documents"]
                examples.write_batch(
                    self._example_rows(built, first_example, first_document, schema)
                )
                table.write_batch(_document_rows(batch, topic_ids, texts.lengths, first_document))
                counts["examples"] += len(built.lengths)
                counts["tokens"] += len(built.input_ids)
                counts["documents"] += len(batch)
                advance(len(batch))
        _describe(folder, schema)
        return counts

    def _topic_ids(self, names: pa.StringArray, split: str) -> NDArray[np.int64]:
        topic_ids = pc.index_in(names, pa.array(self.topics))
        if topic_ids.null_count:
            name = names.filter(pc.is_null(topic_ids))[0].as_py()
            raise UserError(
                f"{split} split: topic {name!r} is not among the corpus' "
                f"topics{nearest(str(name), self.topics)}: {', '.join(self.topics)}"
            )
        return topic_ids.to_numpy().astype(np.int64)

    def _example_rows(
        self, built: Examples, first_example: int, first_document: int, schema: pa.Schema
    ) -> pa.RecordBatch:
        example_ids = first_example + np.arange(len(built.lengths))
        columns: dict[str, pa.Array] = {
            "example_id": pa.array(example_ids),
            "input_ids": to_list_array(built.input_ids, built.lengths),
            "word_ids": to_list_array(built.word_ids, built.lengths),
            "documents": to_list_array(
                built.documents + np.int32(first_document), built.num_segments
            ),
            "length": pa.array(built.lengths.astype(np.int32)),
        }
        if "segment_ids" in schema.names:
            columns["segment_ids"] = to_list_array(built.segment_ids, built.lengths)
        if "mask_kind" in schema.names:
            epochs = np.full(len(example_ids), FIXED_MASK_EPOCH)
            batch = Batch(built.input_ids, built.word_ids, built.lengths, example_ids, epochs)
            corrupted, kinds = mask_batch(batch, self.masking, self.facts, self.seed)
            columns["corrupted_ids"] = to_list_array(corrupted, built.lengths)
            columns["mask_kind"] = to_list_array(kinds, built.lengths)
        return pa.RecordBatch.from_pydict(columns, schema)


def _document_rows(
    batch: pa.RecordBatch,
    topic_ids: NDArray[np.int64],
    num_tokens: NDArray[np.int64],
    first_document: int,
) -> pa.RecordBatch:
    columns: dict[str, pa.Array] = {name: batch[name] for name in COPIED_COLUMNS}
    columns["document"] = pa.array(first_document + np.arange(len(batch), dtype=np.int32))
    columns["topic_id"] = pa.array(topic_ids.astype(np.int32))
    columns["num_tokens"] = pa.array(num_tokens.astype(np.int32))
    columns["num_bytes"] = pc.binary_length(batch["text"]).cast(pa.int64())
    arrays = [columns[field.name].cast(field.type) for field in DOCUMENT_SCHEMA]
    return pa.RecordBatch.from_arrays(arrays, schema=DOCUMENT_SCHEMA)


def _describe(folder: Path, schema: pa.Schema) -> None:
    """Writes what `datasets.load_from_disk` needs beside the Arrow file.

    `Dataset.save_to_disk` would copy the rows once more, under a fingerprint that changes from
    run to run.
    """
    DatasetInfo(features=Features.from_arrow_schema(schema)).write_to_directory(
        str(folder), pretty_print=True
    )
    state: dict[str, object] = {
        "_data_files": [{"filename": DATA_FILE}],
        "_fingerprint": hash_file(folder / DATA_FILE)[:16],
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
    }
    write_json(folder / "state.json", dict(sorted(state.items())))
