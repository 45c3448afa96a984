"""Precision, devices and quantisation of a checkpoint: what is asked for is what is loaded."""

from pathlib import Path

import pytest
import torch
from transformers import OlmoeConfig, OlmoeForCausalLM

from moescope.configs.errors import UserError
from moescope.configs.schema import Config
from moescope.inference.checkpoints.load_checkpoint import load_model
from moescope.inference.checkpoints.loading import Loading, input_device

from ..runs import EXPERTS, SIZES, route, save

pytestmark = pytest.mark.parametrize("dataset", ["none"], indirect=True)


@pytest.fixture
def model(dataset: Config, tmp_path: Path) -> str:
    torch.manual_seed(0)
    network = OlmoeForCausalLM(OlmoeConfig(vocab_size=400, num_experts=EXPERTS, **SIZES))
    return save(network, dataset, tmp_path / "model")


@pytest.mark.parametrize("device_map", ["auto", "cpu", "disk"])
def test_a_model_that_is_spread_out_gives_the_same_store(
    dataset: Config, model: str, device_map: str
) -> None:
    whole, _ = route(dataset, model)
    text = device_map
    if device_map == "disk":  # every module is named, since one is on disk
        names = ("model.embed_tokens", "model.layers.0", "model.layers.2", "model.norm")
        rest = dict.fromkeys((*names, "model.rotary_emb", "lm_head"), "cpu")
        text = str(rest | {"model.layers.1": "disk"}).replace("'", "").replace(" ", "")
    spread, _ = route(dataset, model, f"route.device_map={text}")
    assert spread.files == whole.files
    assert spread.config["route"]["device_map"] is not None
    assert not list(dataset.paths.routing.parent.glob("*offload*")), "nothing is left beside it"


def test_a_precision_is_a_setting_of_the_store(dataset: Config, model: str) -> None:
    network = load_model(model, torch.device("cpu"), Loading(dtype="bfloat16"))
    assert network.dtype == torch.bfloat16
    assert input_device(network) == torch.device("cpu")
    whole, _ = route(dataset, model)
    halved, _ = route(dataset, model, "route.dtype=bfloat16")
    assert halved.config["route"]["dtype"] == "bfloat16"
    assert halved.files != whole.files, "another precision is another store"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("route.quantization=bitsandbytes_4bit", "pip install -U bitsandbytes"),
        ("route.quantization=torchao", "pip install torchao"),
        ("route.quantization=bitsandbites_4bit", "did you mean 'bitsandbytes_4bit'"),
        ("route.quantization={quant_method:gptq}", "bits"),
        ("route.device_map=everywhere", "'auto', 'balanced', 'balanced_low_0', 'sequential'"),
        ("route.dtype=float8", "'auto', 'float32', 'bfloat16' or 'float16'"),
    ],
)
def test_what_cannot_be_loaded_is_one_line(
    dataset: Config, model: str, setting: str, message: str
) -> None:
    with pytest.raises(UserError) as caught:
        route(dataset, model, setting)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_that_do_not_fit_into_memory_name_the_way_out(
    model: str, dataset: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = "moescope.inference.checkpoints.load_checkpoint.AutoModelForCausalLM.from_pretrained"
    for error in (MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9")):
        monkeypatch.setattr(place, lambda *a, error=error, **o: (_ for _ in ()).throw(error))
        with pytest.raises(UserError, match=r"route\.memory"):
            load_model(model, torch.device("cpu"))
