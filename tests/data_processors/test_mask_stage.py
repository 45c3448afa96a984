"""The mask stage: what it writes, that it is fixed by its inputs, and what it refuses."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from datasets import load_from_disk
from transformers import AutoTokenizer

from moescope.configs.compose import compose_config
from moescope.configs.errors import UserError
from moescope.configs.manifest import Manifest
from moescope.configs.schema import Config
from moescope.configs.stage import execute
from moescope.configs.stages import MASK

from ..conftest import Command
from .documents import TOPICS, write_corpus, write_manifest, write_split


def make_config(runs: Path, *overrides: str) -> Config:
    return compose_config(
        [
            "name=t",
            f"paths.runs={runs}",
            "tokenizer.vocab_size=300",
            "dataset.sequence_length=32",
            *overrides,
        ]
    )


def run_stage(runs: Path, *overrides: str) -> Manifest:
    return execute(MASK, make_config(runs, *overrides), command="test")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    write_corpus(tmp_path / "t" / "corpus", train=60)
    return tmp_path


@pytest.mark.parametrize("packing", ["none", "documents"])
def test_nothing_is_lost_on_the_way(runs: Path, packing: str) -> None:
    manifest = run_stage(runs, f"dataset.packing={packing}")
    folder = runs / "t" / "dataset"
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    for split in ("train", "validation", "probe"):
        examples = load_from_disk(str(folder / split))
        table = pq.read_table(folder / f"documents-{split}.parquet").to_pydict()
        corpus = pq.read_table(runs / "t" / "corpus" / f"{split}-00000-of-00001.parquet")
        texts: dict[int, list[list[int]]] = {}
        for example in examples:
            segments = example.get("segment_ids", [0] * example["length"])
            for segment, document in enumerate(example["documents"]):
                ids = [
                    token
                    for token, own in zip(example["input_ids"], segments, strict=True)
                    if own == segment
                ]
                texts.setdefault(document, []).append(ids[1:-1])
        for document, text in enumerate(corpus["text"].to_pylist()):
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            parts = texts[document]
            assert sum(map(len, parts)) == len(ids) == table["num_tokens"][document]
            if packing == "none":
                assert [token for part in parts for token in part] == ids
            assert table["num_bytes"][document] == len(text.encode())
        assert table["id"] == corpus["id"].to_pylist()
        assert table["document"] == list(range(len(corpus)))
        assert [TOPICS[number] for number in table["topic_id"]] == table["topic"]
        assert manifest.counts["examples"][split] == len(examples)
        assert manifest.counts["tokens"][split] == sum(examples["length"])
        assert ("mask_kind" in examples.features) == (split != "train")
    assert manifest.counts["vocab_size"] == 300
    assert manifest.counts["topics"] == TOPICS


def test_two_runs_write_the_same_bytes(runs: Path) -> None:
    first = run_stage(runs)
    second = run_stage(runs, "force=true")
    assert first.files == second.files
    assert run_stage(runs, "force=true", "seed=1").files != first.files


def test_tokenizer_sees_the_training_split_alone(runs: Path) -> None:
    write_split(runs / "t" / "corpus", "validation", [(topic, "žluťoučký kůň") for topic in TOPICS])
    write_manifest(runs / "t" / "corpus", TOPICS)
    config = compose_config(
        ["name=t", f"paths.runs={runs}", "tokenizer=char", "dataset.sequence_length=32"]
    )
    execute(MASK, config, command="test")
    tokenizer = AutoTokenizer.from_pretrained(runs / "t" / "dataset" / "tokenizer")
    assert "ž" not in tokenizer.get_vocab()
    kinds = load_from_disk(str(runs / "t" / "dataset" / "validation"))[0]
    unknown = [i for i, token in enumerate(kinds["input_ids"]) if token == tokenizer.unk_token_id]
    assert unknown
    assert {kinds["mask_kind"][i] for i in unknown} == {4}


def test_pretrained_tokenizer_serves_and_its_files_count(runs: Path) -> None:
    first = run_stage(runs)
    saved = runs / "tokenizer"
    (runs / "t" / "dataset" / "tokenizer").rename(saved)
    config = compose_config(
        [
            "name=t",
            f"paths.runs={runs}",
            "tokenizer=pretrained",
            f"tokenizer.path={saved}",
            "dataset.sequence_length=32",
        ]
    )
    second = execute(MASK, config, command="test")
    assert second.counts == first.counts
    assert "tokenizer/tokenizer.json" in second.inputs


@pytest.mark.parametrize("split", ["train", "validation", "probe"])
def test_empty_split_is_refused(runs: Path, split: str) -> None:
    write_split(runs / "t" / "corpus", split, [])
    write_manifest(runs / "t" / "corpus", TOPICS)
    with pytest.raises(UserError, match=f"the {split} split has no documents"):
        run_stage(runs)


def test_corpus_without_topics_is_refused(runs: Path) -> None:
    write_manifest(runs / "t" / "corpus", None)
    with pytest.raises(UserError, match=r"counts\.topics"):
        run_stage(runs)


def test_unknown_topic_is_refused(runs: Path) -> None:
    write_manifest(runs / "t" / "corpus", ["birds", "train"])
    with pytest.raises(UserError, match=r"topic 'trains' .*did you mean 'train'"):
        run_stage(runs)


def test_damaged_corpus_is_refused(runs: Path) -> None:
    path = runs / "t" / "corpus" / "train-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UserError, match="train-00000-of-00001"):
        run_stage(runs)


def test_command_line_ends_with_one_line(runs: Path, command: Command) -> None:
    done = command("mask", "name=t", f"paths.runs={runs}", "tokenizer.vocab_size=9000")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "tokenizer.vocab_size=9000" in done.stderr
    assert not (runs / "t" / "dataset").exists()
