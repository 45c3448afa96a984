"""The plan of a recording: sizes that can be counted by hand, and no weights needed."""

import re
from pathlib import Path

import pytest
from transformers import OlmoeConfig, OlmoeForCausalLM

from moescope.configs.compose import compose_config
from moescope.inference.checkpoints.layer_sizes import LayerSizes
from moescope.inference.checkpoints.layered_weights import build_without_weights, find_layers
from moescope.inference.plan import plan_route
from moescope.inference.recording.forecast import in_words, operations_per_token, top_k_of
from tests.conftest import Command

OLMOE = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "dtype": "bfloat16",
    "architectures": ["OlmoeForCausalLM"],
}
EXPERT = 3 * 32 * 16
LAYER = 8 * EXPERT + 4 * 32 * 32 + 8 * 32 + 4 * 32  # experts, attention, router, norms


@pytest.fixture
def config_only(tmp_path: Path) -> str:
    """A checkpoint of which only the config is there, as before a download."""
    OlmoeConfig(**OLMOE).save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


def test_sizes_and_operations_are_those_of_a_count_by_hand(config_only: str) -> None:
    network = build_without_weights(config_only)
    sizes = LayerSizes.of(network, find_layers(network)[1])
    assert sizes.layers == (2 * LAYER,) * 3
    assert sizes.outside == 2 * (2 * 300 * 32 + 32)
    assert sizes.total == sum(2 * p.numel() for p in OlmoeForCausalLM(network.config).parameters())
    assert sizes.one_layer == 2 * (LAYER + 8 * 2 * 32 * 16), "the fused weight is there twice"
    assert top_k_of(network) == 2
    in_experts, outside = operations_per_token(network, window=10)
    assert in_experts == 2 * 3 * 2 * EXPERT
    assert outside == 2 * (3 * (LAYER - 8 * EXPERT) + 300 * 32 + 32 + 3 * 32 * 10)


def test_a_plan_needs_a_config_alone(config_only: str, tmp_path: Path) -> None:
    settings = [f"route.model={config_only}", f"paths.runs={tmp_path}", "route.batch_size=2"]
    text = "\n".join(plan_route(compose_config([*settings, "route.memory=1GB"])))
    assert "3 layers, 3 of them with 8 experts, 2 per token" in text
    assert "no dataset yet, so per million" in text
    assert "no weights are there yet" in text
    assert "way      whole" in text
    assert not list(tmp_path.glob("*rate*")), "nothing is left of the measurement"


def test_a_model_above_the_limit_is_planned_layer_by_layer(
    config_only: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moescope.inference.plan.free_memory", lambda device: 1000)
    settings = [f"route.model={config_only}", f"paths.runs={tmp_path}", "route.batch_size=2"]
    text = "\n".join(plan_route(compose_config(settings)))
    assert "way      layer by layer" in text
    assert re.search(r"disk +0\.128 GB beside the store", text), "two times 10^6 x 32 in bf16"


def test_plan_is_a_flag_of_route_alone(command: Command, config_only: str, tmp_path: Path) -> None:
    settings = (f"route.model={config_only}", f"paths.runs={tmp_path / 'runs'}")
    done = command("route", "--plan", *settings)
    assert done.returncode == 0, done.stderr
    assert "a forecast" in done.stdout
    assert not (tmp_path / "runs").exists(), "a plan writes nothing"
    refused = command("corpus", "--plan", *settings)
    assert refused.returncode == 2
    assert "corpus has no forecast" in refused.stderr


def test_times_are_written_as_a_person_would() -> None:
    assert [in_words(s) for s in (8, 600, 9000)] == ["8 s", "10 min", "2.5 h"]
