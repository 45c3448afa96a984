"""The store reads back what was written; damage is named in one line."""

import json
from pathlib import Path

import numpy as np
import pytest

from moescope.configs.errors import UserError
from moescope.inference.store.reader import RoutingStore
from moescope.inference.store.schema import DOCUMENT_FIELDS, SAMPLE_FIELDS, StoreFacts
from moescope.inference.store.writer import StoreWriter, document_table

FACTS = StoreFacts(
    layers=[1, 3],
    num_experts=3,
    top_k=2,
    topics=["a", "b"],
    num_tokens=9,
    num_documents=3,
    types=[7, 5],
    type_strings=[" x", "y", "other"],
    token_classes=["mask", "word"],
    type_classes=[1, 1],
    position_edges=[0, 8],
    model="m",
    split="probe",
)


def write_store(folder: Path, num_slots: int = 2) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    tables = {
        name: generator.integers(0, 99, shape) for name, shape in FACTS.table_shapes().items()
    }
    columns = {field.name: np.arange(3) for field in DOCUMENT_FIELDS}
    columns |= {"id": ["x", "y", "z"], "topic": ["a", "b", "a"], "date": [None] * 3}
    columns |= {"source": ["web"] * 3, "group": ["x", "x", "z"]}
    columns["loss"] = np.array([1.5, np.nan, 2.5])
    counts = np.arange(18).reshape(3, 2, 3)
    with StoreWriter(folder, num_layers=2, num_experts=3, num_slots=num_slots) as writer:
        for part in (slice(0, 1), slice(1, 3)):
            piece = {name: values[part] for name, values in columns.items()}
            writer.append(document_table(piece, counts[part], counts[part] * 2))
        sample = {field.name: np.arange(4) for field in SAMPLE_FIELDS}
        sample["predicted_id"] = np.array([np.nan, 1, 2, 3])
        slots = np.arange(8 * num_slots).reshape(4, 2, num_slots)
        writer.finish(FACTS, tables, sample, slots, slots / 16)
    return tables


def test_a_store_reads_back_as_written(tmp_path: Path) -> None:
    tables = write_store(tmp_path)
    store = RoutingStore.open(tmp_path)
    assert store.facts == FACTS
    assert (store.layers, store.topics, store.num_experts, store.top_k) == (
        [1, 3],
        ["a", "b"],
        3,
        2,
    )
    for name, table in tables.items():
        assert np.array_equal(store.tables[name], table)
    assert store.documents["id"].tolist() == ["x", "y", "z"]
    assert store.documents["loss"].isna().tolist() == [False, True, False]
    assert np.array_equal(store.expert_counts, np.arange(18).reshape(3, 2, 3))
    assert np.array_equal(store.masked_expert_counts, 2 * store.expert_counts)
    assert np.array_equal(store.sample_experts, np.arange(16).reshape(4, 2, 2))
    assert store.sample["predicted_id"].isna().tolist() == [True, False, False, False]


def test_a_sample_may_hold_more_slots_than_k(tmp_path: Path) -> None:
    """Where experts choose their tokens a token has a slot for each."""
    write_store(tmp_path, num_slots=3)
    store = RoutingStore.open(tmp_path)
    assert store.top_k == 2
    assert np.array_equal(store.sample_experts, np.arange(24).reshape(4, 2, 3))


def test_no_store_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no routing store there"):
        RoutingStore.open(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["tables.safetensors", "documents.parquet", "sample.parquet"])
@pytest.mark.parametrize("damage", ["missing", "cut", "garbage"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str, damage: str) -> None:
    write_store(tmp_path)
    path = tmp_path / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"\xff" * 64)
    with pytest.raises(UserError, match=name) as caught:
        RoutingStore.open(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 1}, "format 1, this moescope reads format 3"),
        ({"num_experts": 4}, "expert_counts does not hold 2 x 4 values"),
        ({"num_documents": 4}, "3 documents, store.json says 4"),
        ({"topics": ["a"]}, "topic_mask_kind_expert has shape"),
        ({"types": [7]}, "disagree in length"),
        ({"split": None}, "split"),
    ],
)
def test_facts_that_contradict_the_files(tmp_path: Path, change: dict, message: str) -> None:
    write_store(tmp_path)
    path = tmp_path / "store.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=message):
        RoutingStore.open(tmp_path)
