"""Reads a routing store and checks that its parts fit together; needs no torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file

from ...configs.errors import UserError
from .schema import (
    DOCUMENT_FIELDS,
    DOCUMENTS_FILE,
    FACTS_FILE,
    FORMAT,
    KNOCKOUT_FIELDS,
    KNOCKOUT_FILE,
    METADATA_VALUE_FIELDS,
    METADATA_VALUES_FILE,
    SAMPLE_FIELDS,
    SAMPLE_FILE,
    SATURATION_FIELDS,
    SATURATION_FILE,
    SENSE_FIELDS,
    SENSES_FILE,
    TABLES_FILE,
    StoreFacts,
)


@dataclass(frozen=True)
class RoutingStore:
    """A routing store in memory, as numpy arrays and pandas frames.

    Attributes:
        folder: where it was read.
        facts: what the axes mean; its most used fields are also properties here.
        tables: name → array, shapes as in `StoreFacts.table_shapes`.
        documents: one row per document, the columns `DOCUMENT_FIELDS`.
        expert_counts: (D, L, E) int32, choices of each document's untouched tokens.
        masked_expert_counts: (D, L, E) int32, the same at its masked positions.
        sample: one row per token of the sampled documents.
        sample_experts: (rows of `sample`, L, slots) int16, first choice first. `num_experts`
            marks a slot that no expert executed; those come last. There are k slots, or E where
            experts choose tokens.
        sample_weights: (rows of `sample`, L, slots) float32, stored with half precision.
        knockout: one row per knocked-out expert and measured document, the columns
            `KNOCKOUT_FIELDS`; empty without knock-outs.
        saturation: one row per snapshot, layer and compared document, the columns
            `SATURATION_FIELDS`; empty without snapshots.
        senses: one row per occurrence of a token in a text that is labelled by its sense, the
            columns `SENSE_FIELDS`; empty without such texts.
        sense_counts: (rows of `senses`, L, E) int32, choices of each occurrence.
        metadata_values: one row per document and value of the masked router's column, the
            columns `METADATA_VALUE_FIELDS`; empty unless losses under every value were measured.
    """

    folder: Path
    facts: StoreFacts
    tables: Mapping[str, np.ndarray]
    documents: pd.DataFrame
    expert_counts: np.ndarray
    masked_expert_counts: np.ndarray
    sample: pd.DataFrame
    sample_experts: np.ndarray
    sample_weights: np.ndarray
    knockout: pd.DataFrame
    saturation: pd.DataFrame
    senses: pd.DataFrame
    sense_counts: np.ndarray
    metadata_values: pd.DataFrame

    @classmethod
    def open(cls, folder: str | Path) -> "RoutingStore":
        """Reads a store.

        Raises:
            UserError: there is no store, it is of another format, or a file is missing or damaged;
                names the file.
        """
        folder = Path(folder)
        facts = _read_facts(folder / FACTS_FILE)
        shape = (-1, len(facts.layers), facts.num_experts)
        slots = (-1, len(facts.layers), -1)
        documents, counts = _read_parquet(
            folder / DOCUMENTS_FILE,
            DOCUMENT_FIELDS,
            {"expert_counts": shape, "masked_expert_counts": shape},
        )
        if len(documents) != facts.num_documents:
            raise _damaged(
                folder / DOCUMENTS_FILE,
                f"{len(documents)} documents, {FACTS_FILE} says {facts.num_documents}",
            )
        sample, choices = _read_parquet(
            folder / SAMPLE_FILE, SAMPLE_FIELDS, {"experts": slots, "weights": slots}
        )
        senses, sense_counts = _read_senses(folder / SENSES_FILE, facts)
        return cls(
            folder=folder,
            facts=facts,
            tables=_read_tables(folder / TABLES_FILE, facts),
            documents=documents,
            expert_counts=counts["expert_counts"],
            masked_expert_counts=counts["masked_expert_counts"],
            sample=sample,
            sample_experts=choices["experts"],
            sample_weights=choices["weights"].astype(np.float32),
            knockout=_read_optional(
                folder / KNOCKOUT_FILE, KNOCKOUT_FIELDS, facts.knockout != "none"
            ),
            saturation=_read_optional(
                folder / SATURATION_FILE, SATURATION_FIELDS, bool(facts.snapshots)
            ),
            senses=senses,
            sense_counts=sense_counts,
            metadata_values=_read_optional(
                folder / METADATA_VALUES_FILE, METADATA_VALUE_FIELDS, bool(facts.metadata_values)
            ),
        )

    @property
    def topics(self) -> list[str]:
        """Topic names; topic id = position."""
        return self.facts.topics

    @property
    def layers(self) -> list[int]:
        """Number of each MoE layer in the model, in the order of every L axis."""
        return self.facts.layers

    @property
    def num_experts(self) -> int:
        """Number of experts in each layer (E)."""
        return self.facts.num_experts

    @property
    def top_k(self) -> int:
        """Experts per token (k); `StoreFacts.top_k` says when it is a mean."""
        return self.facts.top_k


def _damaged(path: Path, reason: str) -> UserError:
    return UserError(f"{path}: damaged routing store ({reason}); rerun `moescope route`")


def _read_facts(path: Path) -> StoreFacts:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(
            f"{path}: no routing store there; run `moescope route` or name its folder"
        ) from error
    except ValueError as error:
        raise _damaged(path, "not JSON") from error
    written = values.get("format") if isinstance(values, dict) else None
    if written != FORMAT:
        raise UserError(
            f"{path}: format {written!r}, this moescope reads format {FORMAT}; "
            "rerun `moescope route`"
        )
    try:
        return StoreFacts.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise _damaged(path, f"{place}: {first['msg']}".lstrip(": ")) from error


def _read_tables(path: Path, facts: StoreFacts) -> dict[str, np.ndarray]:
    try:
        tables = load_file(path)
    except FileNotFoundError as error:
        raise _damaged(path, "missing") from error
    except (SafetensorError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    for name, shape in facts.table_shapes().items():
        if 0 in shape:  # need not be in the file
            tables.setdefault(name, np.zeros(shape, np.int64))
        if name not in tables:
            raise _damaged(path, f"no table {name}")
        if tables[name].shape != shape:
            raise _damaged(path, f"{name} has shape {tables[name].shape}, expected {shape}")
    return tables


def _read_senses(path: Path, facts: StoreFacts) -> tuple[pd.DataFrame, np.ndarray]:
    shape = (len(facts.layers), facts.num_experts)
    if not facts.senses:
        empty = pa.schema(SENSE_FIELDS).empty_table().to_pandas()
        return empty, np.zeros((0, *shape), dtype=np.int32)
    frame, lists = _read_parquet(path, SENSE_FIELDS, {"expert_counts": (-1, *shape)})
    return frame, lists["expert_counts"]


def _read_optional(path: Path, fields: list[pa.Field], announced: bool) -> pd.DataFrame:
    if announced:
        return _read_parquet(path, fields, {})[0]
    return pa.schema(fields).empty_table().to_pandas()


def _read_parquet(
    path: Path, fields: list[pa.Field], lists: Mapping[str, tuple[int, int, int]]
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Reads scalar columns into a frame and columns of lists into arrays.

    Args:
        path: the file.
        fields: its scalar columns.
        lists: column → (rows, layers, width) of its array; a width of -1 is found in the file.
    """
    names = [field.name for field in fields]
    try:
        table = pq.read_table(path, columns=[*names, *lists])
    except FileNotFoundError as error:
        raise _damaged(path, "missing") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise _damaged(path, str(error).splitlines()[0]) from error
    arrays = {}
    for name, shape in lists.items():
        if name not in table.column_names:
            raise _damaged(path, f"no column {name}")
        values = table[name].combine_chunks()
        flat = values.flatten() if isinstance(values, pa.Array) else values.chunk(0).flatten()
        size = values.type.list_size
        width = shape[2] if shape[2] >= 0 else size // shape[1]
        if size != shape[1] * width or len(flat) != len(table) * size:
            raise _damaged(path, f"{name} does not hold {shape[1]} x {width} values per row")
        arrays[name] = flat.to_numpy(zero_copy_only=False).reshape(len(table), shape[1], width)
    missing = [name for name in names if name not in table.column_names]
    if missing:
        raise _damaged(path, f"no column {missing[0]}")
    return table.select(names).to_pandas(), arrays
