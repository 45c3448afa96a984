"""One thread, since small models wait longer than they compute; the dataset of the route tests."""

from collections.abc import Iterator

import pytest
import torch

from moescope.configs.schema import Config
from moescope.configs.stage import execute
from moescope.configs.stages import CORPUS, MASK

from .runs import make_config


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", params=["none", "documents"])
def dataset(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Config:
    runs = tmp_path_factory.mktemp("runs")
    config = make_config(runs, f"dataset.packing={request.param}")
    for stage in (CORPUS, MASK):
        execute(stage, config, command="test")
    return config


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moescope.inference.recording.recording.MIN_EXAMPLES", 1)
