"""The collator and the dataset: the contract's tensors, the same whatever the loading."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import AutoTokenizer

from moescope.configs.compose import compose_config
from moescope.configs.errors import UserError
from moescope.configs.manifest import read_manifest
from moescope.configs.stage import execute
from moescope.configs.stages import MASK
from moescope.data_processors.batching import ExampleSampler
from moescope.data_processors.collate import CausalCollator, MaskingCollator, layout_of
from moescope.data_processors.examples import ExampleDataset
from moescope.data_processors.tokenizers import tokenizer_facts
from moescope.model.masks import RowLayout, find_segment_starts

from .documents import write_corpus

Build = Callable[..., Path]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Masks one small corpus; returns the dataset folder."""
    runs = tmp_path_factory.mktemp("runs")
    write_corpus(runs / "corpus")

    def masked(name: str, *overrides: str) -> Path:
        config = compose_config(
            [
                f"name={name}",
                f"paths.runs={runs}",
                f"paths.corpus={runs / 'corpus'}",
                "tokenizer.vocab_size=300",
                "dataset.sequence_length=64",
                *overrides,
            ]
        )
        execute(MASK, config, command="test")
        return config.paths.dataset

    return masked


@pytest.fixture(scope="module")
def plain(build: Build) -> Path:
    return build("plain")


def collator(folder: Path, seed: int = 3, masking: str = "token") -> MaskingCollator:
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    return MaskingCollator(
        tokenizer_facts(tokenizer), compose_config([f"masking={masking}"]).masking, seed
    )


def by_example(
    dataset: ExampleDataset, collate: MaskingCollator, batch_size: int, num_workers: int
) -> list[dict[int, list[int]]]:
    """Corrupted tokens of every example, for two epochs of one DataLoader."""
    loader = DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=ExampleSampler(dataset, batch_size, seed=0, by_length=True),
        collate_fn=collate,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
    )
    epochs = []
    for epoch in (0, 1):
        dataset.set_epoch(epoch)
        order = list(loader.sampler)
        seen = [row for batch in loader for row in _rows(batch)]
        epochs.append(dict(zip(order, seen, strict=True)))
    return epochs


def _rows(batch: dict[str, Tensor]) -> list[list[int]]:
    return [
        ids[mask.bool()].tolist()
        for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
    ]


def test_masks_ignore_workers_batch_size_and_restarts(plain: Path) -> None:
    collate = collator(plain)
    reference = by_example(ExampleDataset(plain, "train"), collate, 1, 0)
    assert reference[0] != reference[1]
    for batch_size, num_workers in ((7, 0), (32, 2)):
        found = by_example(ExampleDataset(plain, "train"), collate, batch_size, num_workers)
        assert found == reference
    restarted = ExampleDataset(plain, "train")
    restarted.set_epoch(1)
    batch = collate(restarted.__getitems__([5, 2]))
    assert _rows(batch) == [reference[1][5], reference[1][2]]


@pytest.mark.parametrize("masking", ["token", "whole_word", "span"])
def test_batch_keeps_the_contract(plain: Path, masking: str) -> None:
    dataset, collate = ExampleDataset(plain, "train"), collator(plain, masking=masking)
    chosen = [0, 11, 3, 40]
    rows = dataset.__getitems__(chosen)
    batch = collate(rows)
    shape = (4, int(dataset.lengths[chosen].max()))
    for name in ("input_ids", "attention_mask", "labels", "document_ids", "mask_kind"):
        assert batch[name].shape == shape
    assert all(values.dtype == torch.int64 for values in batch.values())
    assert "segment_ids" not in batch
    padding = batch["attention_mask"] == 0
    assert batch["attention_mask"].sum(1).tolist() == dataset.lengths[chosen].tolist()
    assert set(batch["input_ids"][padding].tolist()) == {0}
    assert set(batch["document_ids"][padding].tolist()) == {-1}
    assert set(batch["mask_kind"][padding].tolist()) == {-1}
    kind, labels = batch["mask_kind"], batch["labels"]
    assert ((labels != -100) == ((kind >= 1) & (kind <= 3))).all()
    flat = torch.arange(labels.numel())[labels.flatten() != -100]
    assert torch.equal(batch["label_positions"], flat)
    for number, row in enumerate(rows):
        length = len(row["input_ids"])
        true_ids = torch.from_numpy(row["input_ids"].astype(np.int64))
        is_label = labels[number, :length] != -100
        assert is_label.any()
        assert torch.equal(labels[number, :length][is_label], true_ids[is_label])
        special = kind[number, :length] == 4
        assert special.nonzero().flatten().tolist() == [0, length - 1]
        assert (batch["document_ids"][number, :length] == row["documents"][0]).all()


@pytest.mark.parametrize("split", ["validation", "probe"])
def test_fixed_masks_stay_whatever_the_seed_and_epoch(plain: Path, split: str) -> None:
    dataset = ExampleDataset(plain, split)
    first = collator(plain, seed=1)(dataset.__getitems__([0, 1, 2]))
    dataset.set_epoch(4)
    second = collator(plain, seed=2)(dataset.__getitems__([0, 1, 2]))
    for name, values in first.items():
        assert torch.equal(values, second[name])
    assert (first["mask_kind"] == 1).any()


def test_static_training_masks_are_stored(build: Build) -> None:
    dataset = ExampleDataset(build("static", "dataset.train_masks=static"), "train")
    collate = collator(dataset.folder)
    first = collate(dataset.__getitems__([4, 9]))
    dataset.set_epoch(3)
    assert torch.equal(first["input_ids"], collate(dataset.__getitems__([4, 9]))["input_ids"])


def test_packed_rows_restart_and_stay_in_their_topic(build: Build, plain: Path) -> None:
    dataset = ExampleDataset(build("packed", "dataset.packing=documents"), "train")
    assert len(dataset) < 0.9 * len(ExampleDataset(plain, "train"))
    rows = dataset.__getitems__(list(range(len(dataset))))
    batch = collator(dataset.folder)(rows)
    assert max(len(row["documents"]) for row in rows) > 1
    for number, row in enumerate(rows):
        length = len(row["input_ids"])
        segments = batch["segment_ids"][number]
        assert (segments[length:] == segments[length - 1]).all()
        assert len(set(dataset.document_topics[row["documents"]].tolist())) == 1
        for segment, document in enumerate(row["documents"].tolist()):
            own = segments[:length] == segment
            assert batch["position_ids"][number, :length][own].tolist() == list(range(own.sum()))
            assert set(batch["document_ids"][number, :length][own].tolist()) == {document}
            assert row["input_ids"][own.numpy()][[0, -1]].tolist() == [2, 3]
            words = row["word_ids"][own.numpy()]
            assert (words[[0, -1]] == -1).all()
            assert (words[1:-1] >= 0).all()


def test_dataset_and_collator_travel_to_workers(plain: Path) -> None:
    dataset, collate = ExampleDataset(plain, "train"), collator(plain)
    dataset.set_epoch(2)
    other, travelled = pickle.loads(pickle.dumps((dataset, collate)))
    assert len(pickle.dumps(dataset)) < 2000
    for name, values in collate([dataset[3]]).items():
        assert torch.equal(values, travelled([other[3]])[name])


def test_dataset_attributes_agree(plain: Path) -> None:
    dataset = ExampleDataset(plain, "train")
    rows = dataset.__getitems__(list(range(len(dataset))))
    assert [len(row["input_ids"]) for row in rows] == dataset.lengths.tolist()
    assert [row["documents"][0] for row in rows] == dataset.example_documents.tolist()
    assert [row["example_id"] for row in rows] == list(range(len(dataset)))
    assert dataset.document_topics.max() == 1


def test_unknown_split_is_refused(plain: Path) -> None:
    with pytest.raises(UserError, match="no such split"):
        ExampleDataset(plain, "trian")
    assert len(ExampleDataset(plain, "test")) == 0


@pytest.mark.parametrize("across", [False, True])
def test_a_decoder_predicts_every_token_that_has_one_before_it(build: Build, across: bool) -> None:
    folder = build(
        f"blocks{across}",
        "masking=none",
        "dataset.packing=blocks",
        f"dataset.attend_across={across}",
    )
    dataset = ExampleDataset(folder, "validation")
    manifest = read_manifest(folder)
    assert manifest is not None
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    collate = CausalCollator(tokenizer_facts(tokenizer), layout_of(manifest.config["dataset"]))
    assert set(dataset.lengths[:-1].tolist()) == {64}
    dataset.metadata_ids = np.arange(len(dataset.document_topics)) * 10
    rows = dataset.__getitems__(list(range(len(dataset))))
    batch = collate(rows)
    assert ("segment_ids" in batch) != across
    ends = 0
    for number, row in enumerate(rows):
        assert "mask_kind" not in row
        for place, token in enumerate(row["input_ids"].tolist()):
            segment = row["segment_ids"][place]
            first = place == 0 or (not across and segment != row["segment_ids"][place - 1])
            predicted = not first and token != tokenizer.unk_token_id
            assert batch["labels"][number, place] == (token if predicted else -100)
            assert batch["input_ids"][number, place] == token
            assert batch["metadata_ids"][number, place] == row["documents"][segment] * 10
            ends += int(token == tokenizer.sep_token_id and predicted)
    starts = find_segment_starts(RowLayout(batch["attention_mask"], batch.get("segment_ids"), None))
    assert torch.equal(batch["segment_starts"], starts)
    assert len(starts) > len(rows) + (2 if not across else 1)  # padding after the last row, too
    assert ends > len(dataset.document_topics) / 2
    assert (batch["metadata_ids"][batch["attention_mask"] == 0] == -1).all()
    flat = (batch["labels"].flatten() != -100).nonzero().squeeze(1)
    assert torch.equal(batch["label_positions"], flat)


def test_a_decoder_takes_a_masked_dataset_without_its_masks(plain: Path) -> None:
    rows = ExampleDataset(plain, "validation").__getitems__([0, 1, 2])
    batch = CausalCollator(collator(plain).facts)(rows)
    for number, row in enumerate(rows):
        size = len(row["input_ids"])
        ids = torch.from_numpy(row["input_ids"].astype(np.int64))
        assert torch.equal(batch["input_ids"][number, :size], ids)
        assert torch.equal(batch["labels"][number, 1 : size - 1], ids[1:-1])
        assert (batch["labels"][number, [0, size - 1]] == -100).all()
    assert set(batch["mask_kind"].unique().tolist()) <= {-1, 0, 4}
