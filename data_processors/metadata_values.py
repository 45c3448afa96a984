"""Finds which of a masked router's values each document has: by its year, topic or any column.

Settings are those of the model's router (`config.router` of a checkpoint): `column`, `values`, and
for years `last`. The values of "year" are the first years of periods; others are labels.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from transformers import PreTrainedConfig

from ..configs.errors import UserError, nearest, unknown_choice
from ..configs.schema_model import MaskedRouter
from .documents import SPLITS
from .examples import ExampleDataset

YEAR = "year"
OWN_COLUMNS = ("topic", "source", "group")


def resolve_values(router: MaskedRouter, num_experts: int, dataset: Path) -> dict[str, Any]:
    """Completes the settings of a masked router from the documents of the dataset.

    `values` that are left empty become the labels of the training documents in order, or, for
    years, periods of equally many of them: as many as leave each `top_k` experts of its own.
    `last` becomes the last year of any split.

    Raises:
        UserError: a document without a value, or fewer experts than values.
    """
    settings = router.model_dump(exclude={"name", "top_k"})
    labels = {split: read_labels(dataset, split, router.column) for split in SPLITS}
    owners = num_experts - router.shared
    if not router.values:
        found = labels["train"]
        settings["values"] = (
            _periods(found, min(_all_years(labels)), max(owners // router.top_k, 1))
            if router.column == YEAR
            else sorted(set(found))
        )
    if router.column == YEAR:
        years = settings["values"]
        if any(not isinstance(year, int) for year in years) or years != sorted(set(years)):
            raise UserError(f"router.values={years}: name the periods' first years, in order")
        settings["last"] = max(_all_years(labels))
    else:
        settings["values"] = [str(value) for value in settings["values"]]
    if router.policy != "explicit" and len(settings["values"]) > owners:
        raise UserError(
            f"router.column={router.column} has {len(settings['values'])} values, but model."
            f"num_experts={num_experts} with router.shared={router.shared} leaves {owners} experts "
            "to own one; name fewer in router.values or take more experts"
        )
    for split in SPLITS:  # a document that fits no value ends the run here, not in mid-training
        metadata_ids(settings, dataset, split)
    return settings


def add_metadata_ids(examples: ExampleDataset, architecture: PreTrainedConfig) -> None:
    """Gives the rows of a split their `metadata_ids`, if the model's router reads metadata."""
    router = getattr(architecture, "router", None) or {}
    if router.get("name") == "masked" and architecture.num_experts:
        examples.metadata_ids = metadata_ids(router, examples.folder, examples.split)


def metadata_ids(router: Mapping[str, Any], dataset: Path, split: str) -> NDArray[np.int64]:
    """Returns the number in `values` of each document's own value, (D,).

    Raises:
        UserError: a document without a value, or with one that the router does not know; names
            the document.
    """
    labels = read_labels(dataset, split, router["column"])
    number_of = {}
    for row, label in enumerate(labels):
        if label not in number_of:
            try:
                number_of[label] = value_number(router, label)
            except UserError as error:
                name = _document_names(dataset, split)[row]
                raise UserError(f"document {name!r} ({split} split): {error}") from error
    return np.array([number_of[label] for label in labels], np.int64)


def value_number(router: Mapping[str, Any], label: int | str) -> int:
    """Returns the number in `values` of one label or year, as a user or a document gives it.

    Raises:
        UserError: a year outside the periods, or a label that is not among the values.
    """
    column, values = router["column"], router["values"]
    if column != YEAR:
        if str(label) in values:
            return int(values.index(str(label)))
        raise unknown_choice(column, str(label), values)
    year = int(label) if str(label).strip().lstrip("-").isdigit() else None
    last = router["last"]
    if year is None or year < values[0] or (last is not None and year > last):
        end = "" if last is None else f" to {last}"
        raise UserError(
            f"year={label}: outside the periods that the model was trained on ({values[0]}{end})"
        )
    return bisect_right(values, year) - 1


def value_names(router: Mapping[str, Any]) -> list[str]:
    """Names the values, e.g. "1790–1849" for a period of years."""
    values, last = router["values"], router.get("last")
    if router["column"] != YEAR:
        return [str(value) for value in values]
    ends = [*(year - 1 for year in values[1:]), "" if last is None else last]
    return [f"{first}–{end}" for first, end in zip(values, ends, strict=True)]


def read_labels(dataset: Path, split: str, column: str) -> list[Any]:
    """Reads one column of a split's documents: years as integers, others as text.

    Raises:
        UserError: no such column, or a document without a value.
    """
    path = dataset / f"documents-{split}.parquet"
    table = pq.read_table(path, columns=["id", "date", "metadata", *OWN_COLUMNS])
    if column == YEAR:
        labels = [date and date.year for date in table["date"].to_pylist()]
    elif column in OWN_COLUMNS:
        labels = table[column].to_pylist()
    else:
        labels = [dict(pairs).get(column) for pairs in table["metadata"].to_pylist()]
        if labels and all(label is None for label in labels):
            raise _no_column(path, column, table)
    if None in labels:
        name = table["id"][labels.index(None)].as_py()
        wanted = "date" if column == YEAR else column
        raise UserError(
            f"{path}: document {name!r} has no {wanted}; router.column={column} needs it"
        )
    return labels


def _no_column(path: Path, column: str, table: pa.Table) -> UserError:
    carried = {key for pairs in table["metadata"].to_pylist() for key, _ in pairs}
    there = [YEAR, *OWN_COLUMNS, *sorted(carried)]
    return UserError(
        f"router.column={column}: {path} has no such column{nearest(column, there)}; there are "
        f"{', '.join(there)} (source.metadata_columns carries others)"
    )


def _document_names(dataset: Path, split: str) -> list[str]:
    table = pq.read_table(dataset / f"documents-{split}.parquet", columns=["id"])
    return list(table["id"].to_pylist())


def _all_years(labels: Mapping[str, Sequence[int]]) -> list[int]:
    return [year for years in labels.values() for year in years]


def _periods(years: Sequence[int], first: int, count: int) -> list[int]:
    """First years of at most `count` periods with about equally many of the documents."""
    ordered = sorted(years)
    cuts = [ordered[len(ordered) * part // count] for part in range(1, count)]
    return sorted({first, *cuts})
