"""Schema and YAML agree: every preset composes, every key has a meaning, wrong ones fail."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from moescope.configs.cli import explain, group_options
from moescope.configs.compose import compose_config
from moescope.configs.defaults import default_values
from moescope.configs.errors import UserError
from moescope.configs.load import ALIASES, walk
from moescope.configs.memory import apply, parse
from moescope.configs.schema import Config

CONFIGS = Path(__file__).parents[2] / "configs"
GROUPS = (
    *("source", "tokenizer", "masking", "model", "router", "moe_routing", "tracking"),
    "experiment",
)
NEEDS = {
    "source=files": ["source.path=x"],
    "source=hub": ["source.dataset=owner/name"],
    "tokenizer=pretrained": ["tokenizer.path=x"],
}
PRESETS = [f"{group}={name}" for group in GROUPS for name in group_options(group)]


@pytest.mark.parametrize("preset", PRESETS)
def test_every_yaml_composes(preset: str) -> None:
    needs = ["source.path=x"] if preset.startswith("source=lamoe") else NEEDS.get(preset, [])
    config = compose_config([preset, *needs])
    assert config.seed == 0


def test_every_key_has_a_meaning() -> None:
    silent = [key for key, info in walk(Config) if not info.description and key[-4:] != "name"]
    assert silent == []


def test_every_yaml_starts_with_what_it_is_for() -> None:
    for path in CONFIGS.rglob("*.yaml"):
        assert path.read_text(encoding="utf-8").startswith("# "), path.name


def test_what_a_key_is_called_elsewhere_leads_to_a_key_that_exists() -> None:
    last = {key.rpartition(".")[2] for key, _ in walk(Config)}
    assert set(ALIASES.values()) <= last


def test_a_list_in_the_place_of_names_is_one_line_with_the_key() -> None:
    with pytest.raises(OmegaConfBaseException) as caught:
        apply(OmegaConf.create({"source": {"fields": {}}}), parse(["source.fields=[]"])[0])
    assert explain(caught.value) == "source.fields: this setting is names with values, {a: b}"


def test_defaults_live_in_yaml_alone() -> None:
    with_default = [key for key, info in walk(Config) if not info.is_required()]
    assert with_default == []
    assert default_values()["name"] == "default"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["+model.num_expert=8"], ["model.num_expert", "did you mean 'model.num_experts'"]),
        (["+train.lr=1"], ["train.lr", "did you mean 'train.learning_rate'"]),
        (["+train.bs=1"], ["did you mean 'train.batch_size'"]),
        (["+model.n_layers=2"], ["did you mean 'model.num_hidden_layers'"]),
        (["+masking.mlm_probability=0.1"], ["did you mean 'masking.probability'"]),
        (["dataset.sequence_length=1024"], ["1024", "max_position_embeddings=512"]),
        (["masking.probability=1.0"], ["masking.probability=1.0", "less than 1"]),
        (["masking.probability=0"], ["masking.probability=0", "greater than 0"]),
        (["masking.mask_share=0.95"], ["masking", "shares of 1"]),
        (["source=files"], ["source.path", "needs a value"]),
        (["plugins=null"], ["plugins=None", "not a list of names"]),
        (["plugins=[null]"], ["plugins: None is no name"]),
        (["plugins=json"], ["plugins=json", "not a list of names"]),
        (["train.schedule=cosin"], ["train.schedule=cosin", "'cosine'"]),
        (["name=a/b"], ["name=a/b"]),
        (["name='a\nb'"], ["name=a b"]),
        (["seed=" + 5000 * "a"], ["seed=aaaa", "(5,000 characters)", "valid integer"]),
    ],
)
def test_wrong_values_are_refused_in_one_line(overrides: list[str], words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        compose_config(overrides)
    assert "\n" not in str(caught.value)
    message = explain(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    for word in words:
        assert word in message
