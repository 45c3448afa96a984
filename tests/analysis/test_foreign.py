"""A checkpoint that others trained, with a tokenizer of its own: masked, routed and reported."""

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import OlmoeConfig, OlmoeForCausalLM, PreTrainedTokenizerFast

from moescope.configs.manifest import Manifest
from tests.conftest import Command

from .runs import make_report, write_run
from .stores import Planted

END = "<|endoftext|>"


@pytest.fixture(scope="module")
def olmoe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny OLMoE whose tokenizer, as the real one's, has neither mask nor [CLS] nor padding."""
    folder = tmp_path_factory.mktemp("olmoe")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(["a little text to learn from"], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END)
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = OlmoeConfig(
        vocab_size=len(fast),
        hidden_size=16,
        intermediate_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        num_experts=4,
        num_experts_per_tok=2,
    )
    OlmoeForCausalLM(config).save_pretrained(folder)
    return folder


def test_a_foreign_checkpoint_is_reported_without_a_train_stage(
    olmoe: Path, command: Command, tmp_path: Path
) -> None:
    settings = (
        *(f"paths.runs={tmp_path}", "name=olmoe", "source=synthetic", "source.num_topics=2"),
        *("source.documents_per_topic=60", "corpus.splits.probe_documents=12"),
        *("tokenizer=pretrained", f"tokenizer.path={olmoe}", "masking=none"),
        *("dataset.sequence_length=32", f"route.model={olmoe}"),
        *("report.permutations=19", "report.bootstrap=10"),
    )
    for stage in ("corpus", "mask", "route --plan", "route", "report"):
        done = command(*stage.split(), *settings)
        assert done.returncode == 0, done.stderr
        assert stage != "route --plan" or "layers, 2 of them with 4 experts" in done.stdout
    run = tmp_path / "olmoe"
    assert not (run / "model").exists()
    summary = json.loads((run / "report" / "summary.json").read_text())
    assert [layer["layer"] for layer in summary["layers"]] == [0, 1]
    assert "validation_loss" not in summary
    store = json.loads((run / "routing" / "store.json").read_text())
    assert store["target"] == "next"
    assert ["special", END] in store["places"]
    assert (run / "report" / "report.html").stat().st_size > 1e6
    tables = {path.stem for path in (run / "report" / "tables").iterdir()}
    assert {"topics", "vocabulary", "places"} <= tables
    assert not {"loss", "masked"} & tables


def test_the_runs_own_training_is_not_told_of_another_model(tmp_path: Path) -> None:
    config = write_run(tmp_path, Planted(), ("report.formats=[]",))
    route = config.paths.routing / "manifest.json"
    manifest = Manifest.model_validate_json(route.read_text())
    other = manifest.model_copy(update={"inputs": {"model": "2" * 32}})
    route.write_text(other.sealed().model_dump_json())
    summary = json.loads((make_report(config) / "summary.json").read_text())
    assert "validation_loss" not in summary
    assert not [sentence for sentence in summary["verdict"] if sentence["subject"] == "model"]
