"""`moescope import` and `moescope export` through the real command line."""

import json
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    OlmoeConfig,
    OlmoeForCausalLM,
    ViTConfig,
    ViTModel,
)

import moescope.model  # noqa: F401  (registers our classes with transformers)
from tests.conftest import Command
from tests.test_cli import refused


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(0)
    ends = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    size = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    olmoe = OlmoeConfig(**size, **ends, num_experts=4, num_experts_per_tok=2, intermediate_size=24)
    OlmoeForCausalLM(olmoe).to(torch.bfloat16).save_pretrained(folder / "olmoe")
    gpt2 = GPT2Config(**size, **ends, n_positions=32)
    GPT2LMHeadModel(gpt2).save_pretrained(folder / "gpt2")
    vit = ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    ViTModel(vit).save_pretrained(folder / "vit")
    return folder


def test_a_foreign_moe_comes_in_and_goes_out_unchanged(
    checkpoints: Path, command: Command, tmp_path: Path
) -> None:
    place, source = f"paths.runs={tmp_path}", checkpoints / "olmoe"
    done = command("import", "name=i", place, f"checkpoint.source={source}")
    assert done.returncode == 0, done.stderr
    assert "has no tokenizer" in done.stderr
    imported = tmp_path / "i" / "imported"
    done = command("export", "name=i", place, f"export.model={imported}")
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "i" / "exported" / "manifest.json").read_text())
    assert manifest["counts"]["family"] == "olmoe"
    before, after = (
        AutoModelForCausalLM.from_pretrained(folder).state_dict()
        for folder in (source, tmp_path / "i" / "exported")
    )
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_gpt2_upcycled_computes_what_the_dense_one_does(
    checkpoints: Path, command: Command, tmp_path: Path
) -> None:
    done = command(
        "import",
        "name=up",
        f"paths.runs={tmp_path}",
        f"checkpoint.source={checkpoints / 'gpt2'}",
        "checkpoint.num_experts=4",
        "checkpoint.moe_every=2",
    )
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "up" / "imported"
    counts = json.loads((folder / "manifest.json").read_text())["counts"]
    assert counts["largest_logit_difference"] < 1e-5
    assert counts["active_parameters"] < counts["parameters"]
    upcycled = AutoModelForCausalLM.from_pretrained(folder)
    assert [upcycled.config.is_moe_layer(i) for i in range(2)] == [False, True]
    done = command("export", f"paths.runs={tmp_path}", f"export.model={folder}")
    refused(done, "no 'mixtral' model", "norm_type='layer' (needs 'rms')")


def test_bad_input_is_one_line(checkpoints: Path, command: Command, tmp_path: Path) -> None:
    place = f"paths.runs={tmp_path}"
    refused(command("import", place), "checkpoint.source", "moescope import checkpoint.source=")
    refused(command("import", place, "checkpoint.source=nowhere/at/all"), "nowhere/at/all")
    vit = f"checkpoint.source={checkpoints / 'vit'}"
    refused(command("import", place, vit), "a 'vit' model; import reads bert, gpt2, llama, olmoe")
    olmoe = f"checkpoint.source={checkpoints / 'olmoe'}"
    done = command("import", place, olmoe, "checkpoint.num_experts=4")
    refused(done, "'olmoe' model has experts already")
    done = command("export", place, f"export.model={checkpoints / 'olmoe'}")
    refused(done, "OlmoeForCausalLM", "our decoders only")
    refused(command("export", place, "export.family=mixtra"), "export.family", "'mixtral'")
    refused(command("export", place), "no model there", "moescope train", "export.model")
