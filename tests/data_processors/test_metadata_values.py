"""Years fall into their periods, labels are found, and what does not fit is named."""

import json
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moescope.configs.compose import compose_config
from moescope.configs.errors import UserError
from moescope.configs.schema_model import MaskedRouter
from moescope.configs.stage import execute
from moescope.configs.stages import CORPUS, MASK
from moescope.data_processors.dataset_writer import DOCUMENT_SCHEMA
from moescope.data_processors.metadata_values import (
    SPLITS,
    metadata_ids,
    resolve_values,
    value_names,
    value_number,
)

YEARS = {"column": "year", "values": [1790, 1850, 1910], "last": 1990}


def router(**changes: object) -> MaskedRouter:
    section = compose_config(["router=masked"]).router
    assert isinstance(section, MaskedRouter)
    return section.model_copy(update=changes)


def write_documents(
    folder: Path, years: dict[str, list[int | None]], ages: dict[str, list[str]] | None = None
) -> Path:
    """Writes the document tables of a dataset."""
    for split in SPLITS:
        own = years.get(split, [])
        rows = [
            {
                "document": row,
                "id": f"{split}{row}",
                "topic": f"t{row % 2}",
                "date": None if year is None else date(year, 7, 4),
                "source": "s",
                "group": "g",
                "metadata": [("age", ages[split][row])] if ages else [],
                "topic_id": row % 2,
                "num_tokens": 5,
                "num_bytes": 20,
            }
            for row, year in enumerate(own)
        ]
        table = pa.Table.from_pylist(rows, DOCUMENT_SCHEMA)
        pq.write_table(table, folder / f"documents-{split}.parquet")
    return folder


def test_a_year_belongs_to_the_period_that_began_last() -> None:
    for year in range(1790, 1991):
        slow = max(i for i, first in enumerate(YEARS["values"]) if first <= year)  # type: ignore[arg-type]
        assert value_number(YEARS, year) == value_number(YEARS, str(year)) == slow
    assert value_names(YEARS) == ["1790–1849", "1850–1909", "1910–1990"]


@pytest.mark.parametrize("year", [1789, 1991, "soon", "1e3", ""])
def test_a_year_outside_the_periods_is_refused(year: int | str) -> None:
    with pytest.raises(UserError, match=r"1790 to 1990"):
        value_number(YEARS, year)


def test_an_unknown_label_gets_the_nearest() -> None:
    labels = {"column": "age", "values": ["old", "young"]}
    assert value_number(labels, "young") == 1
    with pytest.raises(UserError, match="did you mean 'young'"):
        value_number(labels, "yong")


def test_periods_found_hold_equally_many_documents_and_leave_top_k_experts(tmp_path: Path) -> None:
    years: list[int | None] = [1800 + i for i in range(90)]
    folder = write_documents(tmp_path, {"train": years, "validation": [1795], "test": [1900]})
    found = resolve_values(router(), 6, folder)
    assert found["values"] == [1795, 1830, 1860]
    assert found["last"] == 1900
    ids = metadata_ids(found, folder, "train")
    assert np.bincount(ids).tolist() == [30, 30, 30]
    assert resolve_values(router(shared=2), 6, folder)["values"] == [1795, 1845]


def test_whatever_does_not_fit_is_named(tmp_path: Path) -> None:
    folder = write_documents(tmp_path, {"train": [1800, None, 1900], "validation": [1850]})
    with pytest.raises(UserError, match=r"document 'train1' has no date"):
        resolve_values(router(), 8, folder)
    with pytest.raises(UserError, match="did you mean 'topic'"):
        resolve_values(router(column="topc"), 8, folder)
    with pytest.raises(UserError, match=r"document 'train1' .*'t1'.*choose one of t0"):
        resolve_values(router(column="topic", values=["t0"]), 8, folder)
    with pytest.raises(UserError, match=r"fewer in router\.values"):
        resolve_values(router(column="topic"), 1, folder)
    write_documents(tmp_path, {"train": [1800, 1900], "validation": [1850]})
    with pytest.raises(UserError, match=r"document 'train0' .*year=1800: outside .*1810 to 1900"):
        resolve_values(router(values=[1810, 1850]), 8, folder)
    with pytest.raises(UserError, match="in order"):
        resolve_values(router(values=[1850, 1800]), 8, folder)


def test_any_column_of_a_file_reaches_the_router(tmp_path: Path) -> None:
    rows = [
        {"text": f"words about number {i} and more words", "topic": "ab"[i % 2], "age": 20 + i % 3}
        for i in range(80)
    ]
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = compose_config(
        [
            *("source=files", f"source.path={path}", "source.metadata_columns=[age]"),
            *("corpus.clean.min_chars=5", "corpus.clean.near_duplicates=false"),
            *("tokenizer=char", f"paths.runs={tmp_path / 'runs'}"),
        ]
    )
    for stage in (CORPUS, MASK):
        execute(stage, config, "test")
    found = resolve_values(router(column="age"), 8, config.paths.dataset)
    assert found["values"] == ["20", "21", "22"]
    table = pq.read_table(config.paths.dataset / "documents-train.parquet").to_pylist()
    ids = metadata_ids(found, config.paths.dataset, "train")
    for row, value in zip(table, ids, strict=True):
        number = int(row["id"].rpartition(":")[2]) - 1
        assert value == number % 3
    unknown = ["source=files", f"source.path={path}", "source.metadata_columns=[agee]"]
    config = compose_config([*unknown, f"paths.runs={tmp_path / 'other'}"])
    with pytest.raises(UserError, match=r"metadata_columns.*did you mean 'age'"):
        execute(CORPUS, config, "test")
