"""`train.start_from`: an upcycled model goes on training; what does not fit is refused."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BertConfig, BertForMaskedLM

import moescope.model  # noqa: F401  (registers our classes with transformers)
from tests.conftest import Command
from tests.test_cli import refused

DENSE = ("model=lamoe", "model.num_experts=0")
SMALL = (
    "experiment=debug",
    "masking=none",
    "source.documents_per_topic=60",
    "corpus.splits.probe_documents=10",
    "train.max_steps=2",
    "train.eval_every=2",
    "train.snapshots=0",
)


@pytest.fixture(scope="module")
def upcycled(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a dataset, a dense decoder in model/, and it upcycled in imported/."""
    place = f"paths.runs={tmp_path_factory.mktemp('start')}"
    run = Path(place.partition("=")[2]) / "debug"
    exported = f"checkpoint.source={run / 'exported'}"
    for stage, *more in (
        ("corpus",),
        ("mask",),
        ("train", *DENSE),
        ("export",),
        ("import", exported, "checkpoint.num_experts=4"),
    ):
        done = command(stage, *SMALL, place, *more)
        assert done.returncode == 0, done.stderr
    return run


def test_training_starts_from_the_upcycled_weights(upcycled: Path, command: Command) -> None:
    start = upcycled / "imported"
    settings = json.loads((start / "config.json").read_text())
    arguments = [
        "train",
        *SMALL,
        f"paths.runs={upcycled.parent}",
        "name=moe",
        f"paths.dataset={upcycled / 'dataset'}",
        f"train.start_from={start}",
        "model=lamoe",
        "train.learning_rate=1e-9",
    ]
    done = command(*arguments, "model.num_experts=8")
    refused(done, "another architecture; add", "model.num_experts=4")
    overrides = done.stderr.partition("; add ")[2].split()
    done = command(*arguments, *overrides)
    assert done.returncode == 0, done.stderr
    before, after = (
        AutoModelForCausalLM.from_pretrained(folder).state_dict()
        for folder in (start, upcycled.parent / "moe" / "model")
    )
    assert settings["num_experts"] == 4
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, rtol=1e-3, atol=1e-6)


def test_a_folder_without_a_finished_stage_is_refused(upcycled: Path, command: Command) -> None:
    place = f"paths.runs={upcycled.parent}"
    start = f"train.start_from={upcycled / 'exported'}"
    done = command("train", *SMALL, place, start, "--yes")
    refused(done, "exported", "no finished import or train stage there", "moescope import")


def test_an_upcycled_bert_goes_on_with_its_head(
    command: Command, debug_run: Path, tmp_path: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(debug_run / "dataset" / "tokenizer")
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    bert = BertConfig(vocab_size=len(tokenizer), hidden_size=32, pad_token_id=0, **sizes)
    BertForMaskedLM(bert).save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    place = (f"paths.runs={tmp_path}", f"checkpoint.source={tmp_path / 'bert'}")
    done = command("import", *place, "name=bert", "checkpoint.num_experts=4")
    assert done.returncode == 0, done.stderr
    start = tmp_path / "bert" / "imported"
    arguments = [
        *("train", "experiment=debug", "name=on", f"paths.runs={tmp_path}", "tracking=none"),
        *(f"paths.dataset={debug_run / 'dataset'}", f"train.start_from={start}"),
        *("train.max_steps=2", "train.eval_every=2", "train.snapshots=0"),
    ]
    done = command(*arguments)
    refused(done, "another architecture; add")
    done = command(*arguments, *done.stderr.partition("; add ")[2].split())
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "on/model/config.json").read_text())["head_transform"]
