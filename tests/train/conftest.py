"""One small masked dataset, made by the real stages, for every test of the train stage."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from moescope.configs.compose import compose_config
from moescope.configs.manifest import Manifest
from moescope.configs.schema import Config
from moescope.configs.stage import execute
from moescope.configs.stages import CORPUS, MASK, TRAIN

SMALL = [
    "experiment=debug",
    "source.documents_per_topic=40",
    "source.words_per_document=30",
    "corpus.splits.probe_documents=4",
    "corpus.splits.validation=0.2",
    "corpus.clean.min_chars=20",
    "tokenizer.vocab_size=400",
    "dataset.sequence_length=32",
    "model.hidden_size=32",
    "model.intermediate_size=48",
    "model.moe_intermediate_size=24",
    "model.dropout=0.1",
    "train.batch_size=8",
    "train.max_steps=16",
    "train.log_every=2",
    "train.eval_every=4",
    "train.eval_examples=10",
]
MakeConfig = Callable[..., Config]


@pytest.fixture(scope="session")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder with a corpus and a dataset; tests read it and never write it."""
    runs = tmp_path_factory.mktemp("masked")
    config = compose_config([*SMALL, f"paths.runs={runs}"])
    for stage in (CORPUS, MASK):
        execute(stage, config, "test")
    return config.paths.run


@pytest.fixture
def make_config(masked: Path, tmp_path: Path) -> MakeConfig:
    """Builds a config that reads the shared dataset and writes below `tmp_path`."""
    return config_maker(masked, tmp_path)


@pytest.fixture(scope="module")
def module_config(masked: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeConfig:
    """The same, for what the tests of one file share."""
    torch.set_num_threads(1)
    return config_maker(masked, tmp_path_factory.mktemp("module"))


def config_maker(masked: Path, folder: Path) -> MakeConfig:
    """Builds configs that write below a folder."""

    def make(*overrides: str, runs: str = "runs") -> Config:
        places = [f"paths.runs={folder / runs}", f"paths.dataset={masked / 'dataset'}"]
        return compose_config([*SMALL, *places, *overrides])

    return make


def train(config: Config) -> Manifest:
    """Runs the train stage."""
    return execute(TRAIN, config, "test")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Matrices this small only wait for their threads; and the sums keep one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
