"""A checkpoint whose weights are not all used, or not all there, is never recorded in silence."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForTokenClassification, OlmoeConfig, OlmoeForCausalLM

from moescope.configs.errors import UserError
from moescope.inference.checkpoints.load_checkpoint import load_model
from moescope.inference.checkpoints.loading import Loading

from ..runs import EXPERTS, SIZES

Weights = dict[str, torch.Tensor]
EXPERT = "model.layers.1.mlp.experts.0.down_proj.weight"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("whole") / "model"
    config = OlmoeConfig(vocab_size=64, num_experts=EXPERTS, **SIZES)
    OlmoeForCausalLM(config).save_pretrained(folder)
    return folder


def changed(
    whole: Path, folder: Path, weights: Callable[[Weights], object] | None = None, **config: object
) -> str:
    """Copies a checkpoint with other weights or settings."""
    shutil.copytree(whole, folder)
    file = folder / "model.safetensors"
    if weights is not None:
        loaded = load_file(file)
        weights(loaded)
        save_file(loaded, file, metadata={"format": "pt"})
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | config))
    return str(folder)


def refused(path: str) -> str:
    with pytest.raises(UserError) as caught:
        load_model(path, torch.device("cpu"))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 900
    return str(caught.value)


def some(weights: Weights, name: str = "down_proj") -> str:
    return next(key for key in weights if name in key)


def test_weights_that_the_model_does_not_use_are_named(whole: Path, tmp_path: Path) -> None:
    extra = {"model.layers.0.mlp.other.weight": torch.ones(2)}
    said = refused(changed(whole, tmp_path / "a", lambda w: w.update(extra)))
    assert "1 weights that OlmoeForCausalLM does not use" in said
    assert "model.layers.0.mlp.other.weight" in said


def test_weights_that_are_missing_are_named(whole: Path, tmp_path: Path) -> None:
    said = refused(changed(whole, tmp_path / "a", lambda w: w.pop("model.norm.weight")))
    assert "lacks 1 of the model's weights: model.norm.weight" in said


def test_weights_of_another_shape_are_named(whole: Path, tmp_path: Path) -> None:
    said = refused(changed(whole, tmp_path / "a", vocab_size=65))
    assert "embed_tokens" in said


def test_fp8_weights_without_their_config_are_refused(whole: Path, tmp_path: Path) -> None:
    def halve(weights: Weights) -> None:
        weights[some(weights)] = weights[some(weights)].to(torch.float8_e4m3fn)

    said = refused(changed(whole, tmp_path / "a", halve))
    assert "without a quantization_config" in said
    assert "F8_E4M3" in said


def test_scales_that_nothing_uses_are_refused_as_quantisation(whole: Path, tmp_path: Path) -> None:
    scales = {"model.layers.0.self_attn.q_proj.weight_scale": torch.ones(1)}
    said = refused(changed(whole, tmp_path / "a", lambda w: w.update(scales)))
    assert "without a quantization_config" in said
    assert "q_proj.weight_scale" in said


@pytest.mark.parametrize("settings", [{"quant_method": "modelopt"}, {"quant_algo": "FP8"}])
def test_a_quantisation_that_transformers_skips_is_refused(
    whole: Path, tmp_path: Path, settings: dict[str, str]
) -> None:
    said = refused(changed(whole, tmp_path / "a", quantization_config=settings))
    assert "transformers cannot undo" in said
    assert "bitsandbytes_4bit" in said


def test_modelopts_record_beside_the_config_is_read(whole: Path, tmp_path: Path) -> None:
    path = changed(whole, tmp_path / "a")
    (tmp_path / "a/hf_quant_config.json").write_text('{"quantization": {"quant_algo": "FP8"}}')
    assert "hf_quant_config.json" in refused(path)


def test_computed_weights_and_later_tokens_are_left_aside(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    extra = {
        "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(2),
        "mtp.layers.0.norm.weight": torch.ones(2),
        f"model.layers.{SIZES['num_hidden_layers']}.norm.weight": torch.ones(2),
    }
    path = changed(whole, tmp_path / "a", lambda w: w.update(extra), num_nextn_predict_layers=1)
    load_model(path, torch.device("cpu"))
    assert "2 weights of layers that predict later tokens" in " ".join(
        capsys.readouterr().err.split()
    )
    (tmp_path / "a/config.json").write_text((whole / "config.json").read_text())
    assert "1 weights that" in refused(path), "the config announces no such layer"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"config.json": "{}", "pytorch_model.bin": ""}, "only pickles"),
        ({"model-q4.gguf": ""}, "GGUF"),
        ({"adapter_config.json": "{}"}, "an adapter alone"),
        ({"config.json": "{}"}, "model.safetensors"),
        ({}, "config.json is missing"),
    ],
)
def test_what_lies_there_instead_is_said(tmp_path: Path, files: dict[str, str], said: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert said in refused(str(tmp_path))


def test_one_gguf_file(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_text("")
    assert "GGUF" in refused(str(tmp_path / "m.gguf"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"model_type": ', "not JSON"),
        ("[1]", "holds no settings"),
        ('{"model_type": "olmo"', "not JSON"),
        ('{"model_type": "olmoee"}', "did you mean 'olmoe'"),
        ('{"model_type": "own", "auto_map": {"AutoConfig": "a.B"}}', "no code of a checkpoint"),
        ('{"model_type": "olmoe", "num_experts": "many"}', "num_experts"),
        ('{"hidden_size": 8}', "model_type=None"),
    ],
)
def test_a_malformed_config_is_one_line(whole: Path, tmp_path: Path, text: str, said: str) -> None:
    path = changed(whole, tmp_path / "a")
    (tmp_path / "a/config.json").write_text(text)
    assert said in refused(path)


def test_a_missing_shard_is_named(whole: Path, tmp_path: Path) -> None:
    path = changed(whole, tmp_path / "a")
    (tmp_path / "a/model.safetensors").rename(tmp_path / "a/model-1.safetensors")
    index = {"weight_map": {"x": "model-1.safetensors", "y": "model-2.safetensors"}}
    (tmp_path / "a/model.safetensors.index.json").write_text(json.dumps(index))
    assert "model-2.safetensors: weight file is missing" in refused(path)


def test_a_model_without_a_language_model_head_is_one_line(tmp_path: Path) -> None:
    small = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    config = BertConfig(vocab_size=64, hidden_size=8, **small)
    BertForTokenClassification(config).save_pretrained(tmp_path)
    assert "lacks" in refused(str(tmp_path)), "BERT has a head; this checkpoint does not"


def test_an_adapter_is_applied_only_when_it_is_asked_for(whole: Path, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="pip install peft")
    path = changed(whole, tmp_path / "a")
    plain = load_model(path, torch.device("cpu"))
    settings = peft.LoraConfig(target_modules=["q_proj"], init_lora_weights=False, r=2)
    adapted = peft.get_peft_model(load_model(path, torch.device("cpu")), settings)
    adapted.save_pretrained(tmp_path / "a")  # beside the weights, as trainers do
    beside = load_model(path, torch.device("cpu"))
    asked = load_model(path, torch.device("cpu"), Loading(adapter=tmp_path / "a"))
    name = "model.layers.0.self_attn.q_proj.weight"
    assert torch.equal(beside.state_dict()[name], plain.state_dict()[name])
    assert not torch.equal(asked.state_dict()[name], plain.state_dict()[name])
    assert list(asked.state_dict()) == list(plain.state_dict())


def test_an_adapter_needs_peft_and_its_files(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"adapter_config\.json is missing"):
        load_model(str(whole), torch.device("cpu"), Loading(adapter=tmp_path))
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (tmp_path / name).write_text("{}")
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(UserError, match="pip install peft"):
        load_model(str(whole), torch.device("cpu"), Loading(adapter=tmp_path))
