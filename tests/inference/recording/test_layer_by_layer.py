"""Layer by layer gives the same store as the plain pass, and goes on where it was killed."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    GptOssConfig,
    GptOssForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    OlmoeConfig,
    OlmoeForCausalLM,
    PreTrainedModel,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)
from transformers.models.olmoe.modeling_olmoe import OlmoeModel

from moescope.configs.errors import UserError
from moescope.configs.schema import Config
from moescope.inference.checkpoints.layered_weights import LayeredWeights

from ..runs import EXPERTS, SIZES, encoder, route, save

pytestmark = pytest.mark.parametrize("dataset", ["none"], indirect=True)
ONE_LAYER = ("route.memory=1MB", "route.knockout=none")
BASE = {"vocab_size": 400, **SIZES}


def olmoe(**changes: object) -> PreTrainedModel:
    return OlmoeForCausalLM(OlmoeConfig(num_experts=EXPERTS, **BASE | changes))


def deepseek() -> PreTrainedModel:
    config = DeepseekV3Config(
        **BASE | {"moe_intermediate_size": 8, "n_routed_experts": EXPERTS, "n_group": 1},
        topk_group=1,
        first_k_dense_replace=1,
        q_lora_rank=8,
        kv_lora_rank=8,
        qk_rope_head_dim=4,
        qk_nope_head_dim=8,
        v_head_dim=8,
        num_key_value_heads=2,
    )
    return DeepseekV3ForCausalLM(config)


FAMILIES = {
    "olmoe": olmoe,
    "tied": lambda: olmoe(tie_word_embeddings=True),
    "mixtral": lambda: MixtralForCausalLM(
        MixtralConfig(num_local_experts=EXPERTS, num_key_value_heads=2, **BASE)
    ),
    "qwen3_moe": lambda: Qwen3MoeForCausalLM(
        Qwen3MoeConfig(
            num_experts=EXPERTS,
            moe_intermediate_size=8,
            num_key_value_heads=2,
            head_dim=12,
            mlp_only_layers=[1],
            **BASE,
        )
    ),
    "gpt_oss": lambda: GptOssForCausalLM(
        GptOssConfig(num_local_experts=EXPERTS, num_key_value_heads=2, head_dim=12, **BASE)
    ),
    "deepseek_v3": deepseek,
}


@pytest.fixture
def force_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Toy weights are below every limit: the limit is taken for 1 byte, and the room for enough."""
    place = "moescope.inference.recording.larger_models"
    monkeypatch.setattr(f"{place}.weights_in_memory", lambda files, dtype: 10**15)
    monkeypatch.setattr("moescope.inference.recording.recording.check_room", lambda *_: None)


@pytest.mark.usefixtures("force_layers")
@pytest.mark.parametrize("family", FAMILIES)
def test_the_store_is_that_of_the_plain_pass_to_the_last_bit(
    dataset: Config, tmp_path: Path, family: str, small_chunks: None
) -> None:
    torch.manual_seed(0)
    model = save(FAMILIES[family](), dataset, tmp_path / "model")
    with pytest.MonkeyPatch.context() as plainly:
        plainly.setattr(
            "moescope.inference.recording.larger_models.weights_in_memory", lambda *_: 0
        )
        plain, _ = route(dataset, model, "route.knockout=none")
    layered, _ = route(dataset, model, *ONE_LAYER)
    assert layered.files == plain.files
    assert layered.counts["layer_by_layer"]
    assert not plain.counts["layer_by_layer"]
    assert not list(dataset.paths.routing.parent.glob(".routing.layers*")), "nothing is left"


@pytest.mark.usefixtures("force_layers")
def test_killed_and_restarted_reads_only_the_layers_that_are_left(
    dataset: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save(olmoe(), dataset, tmp_path / "model")
    whole, _ = route(dataset, model, *ONE_LAYER, "force=true")
    read: list[int] = []
    plain_read = LayeredWeights._read

    def counted(self: LayeredWeights, number: int) -> None:
        if read.count(2) == 0 and number == 2 and kill:
            raise KeyboardInterrupt
        read.append(number)
        plain_read(self, number)

    monkeypatch.setattr(LayeredWeights, "_read", counted)
    kill = True
    with pytest.raises(KeyboardInterrupt):
        route(dataset, model, *ONE_LAYER, "force=true")
    assert sorted(read) == [-1, 0, 1], "each weight once"
    kill, read[:] = False, []
    shutil.rmtree(dataset.paths.routing)
    again, _ = route(dataset, model, *ONE_LAYER)
    assert again.files == whole.files
    assert sorted(read) == [-1, 0, 2], "layer 0 once more, to see how many experts a token has"


@pytest.mark.usefixtures("force_layers")
@pytest.mark.parametrize(
    ("family", "message"),
    [
        ("looks_back", "reads more than the output of the layer before"),
        ("twice", r"called in the order \[0, 1, 2, 0, 1, 2\]"),
        ("ours", "a model of our own is recorded whole"),
        ("quantised", "is quantised .fp8."),
        ("stray", "cannot read it layer by layer|lacks 1 of the model's weights"),
    ],
)
def test_what_cannot_go_layer_by_layer_is_refused_in_one_line(
    dataset: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, message: str
) -> None:
    network = encoder(400) if family == "ours" else olmoe()
    model = save(network, dataset, tmp_path / "model")
    forward = OlmoeModel.forward

    def looks_back(self: OlmoeModel, **inputs: object) -> object:
        first: list[torch.Tensor] = []
        self.layers[0].register_forward_hook(lambda *call: first.append(call[2]))
        self.layers[2].register_forward_pre_hook(lambda _, args: (args[0] + first[-1], *args[1:]))
        return forward(self, **inputs)

    def twice(self: OlmoeModel, **inputs: object) -> object:
        self.layers = torch.nn.ModuleList([*list(self.layers)[:3], *list(self.layers)[:3]])
        self.config.num_hidden_layers = 6
        return forward(self, **inputs)

    changed = {"looks_back": looks_back, "twice": twice}
    if family in changed:
        monkeypatch.setattr(OlmoeModel, "forward", changed[family])
    if family == "quantised":
        write_config(model, quantization_config={"quant_method": "fp8"})
    if family == "stray":
        weights = load_file(f"{model}/model.safetensors")
        del weights["model.layers.2.self_attn.q_proj.weight"]
        save_file(weights, f"{model}/model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=message) as caught:
        route(dataset, model, *ONE_LAYER)
    assert "\n" not in str(caught.value)


def test_too_little_memory_for_one_layer_says_what_takes_it(
    dataset: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = "moescope.inference.recording.larger_models.weights_in_memory"
    monkeypatch.setattr(place, lambda *_: 10**15)
    model = save(olmoe(), dataset, tmp_path / "model")
    with pytest.raises(UserError, match=r"one layer while it is read.*lower route\.batch_size=8"):
        route(dataset, model, *ONE_LAYER)
    with pytest.raises(UserError, match=r"leave out route\.memory or route\.device_map"):
        route(dataset, model, *ONE_LAYER, "route.device_map=auto")
    with pytest.raises(UserError, match=r"route\.memory.*byte"):
        route(dataset, model, "route.memory=much")


def write_config(model: str, **changes: object) -> None:
    file = Path(model) / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
