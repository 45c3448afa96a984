"""Aim gets everything with its context, and can fail at any point without stopping training."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import aim
import pytest

from moescope.train import aim_writer
from moescope.train.aim_process import load_figure, track_record
from moescope.train.owner import aim_run_of

from .conftest import MakeConfig, train

LAYER = {
    "layer": 2,
    "load": [0.75, 0.25],
    "max_violation": 0.5,
    "router_entropy": 0.6,
    "dead_experts": 0,
    "drop_rate": 0.0,
}
RECORD = {
    "split": "validation",
    "step": 7,
    "epoch": 1.5,
    "loss": 3.0,
    "accuracy": 0.2,
    "perplexity": 20.0,
    "balance": {"switch": 1.1},
    "layers": [LAYER],
    "topics": {"politics": {"loss": 2.5, "tokens": 9}},
}


class FakeRun:
    def __init__(self) -> None:
        self.tracked: list[tuple[Any, str, int, dict[str, Any]]] = []

    def track(self, value: Any, name: str, step: int, epoch: int, context: dict[str, Any]) -> None:
        self.tracked.append((value, name, step, context))


def test_metrics_carry_split_layer_and_topic() -> None:
    run = FakeRun()
    track_record(run, RECORD)
    scalars = {
        (name, *sorted(context.items())): value
        for value, name, step, context in run.tracked
        if isinstance(value, float) and step == 7
    }
    split = ("split", "validation")
    assert scalars["loss", split] == 3.0
    assert scalars["loss", split, ("topic", "politics")] == 2.5
    assert scalars["balance/switch", split] == 1.1
    assert scalars["max_violation", ("layer", 2), split] == 0.5
    kinds = [type(value) for value, name, _, _ in run.tracked if name == "load"]
    assert kinds == [aim.Distribution, aim.Figure]


def test_figure_holds_plain_lists_of_relative_load() -> None:
    text = load_figure([LAYER]).to_json()
    assert "bdata" not in text
    assert json.loads(text)["data"][0]["z"] == [[1.5, 0.5]]


def test_a_real_run_holds_config_tags_and_metrics(make_config: MakeConfig) -> None:
    config = make_config(
        "tracking=aim", "tracking.tags=[small]", "train.max_steps=4", "name=tracked"
    )
    train(config)
    # other readers see a run once it is indexed, which `aim up` does by itself
    aim_command = str(Path(sys.executable).with_name("aim"))
    indexing = [aim_command, "storage", "--repo", str(config.paths.runs), "reindex", "-y"]
    subprocess.run(indexing, check=True, capture_output=True)
    run_hash = aim_run_of(config.paths.checkpoints)
    run = aim.Run(run_hash, repo=str(config.paths.runs), read_only=True)
    assert run["config"]["train"]["max_steps"] == 4
    assert run["results"]["steps"] == 4
    assert run.name == "tracked"
    assert run.tags == ["small"]
    found = {(metric.name, metric.context.to_dict()["split"]) for metric in run.metrics()}
    assert {("loss", "train"), ("loss", "validation"), ("max_violation", "validation")} <= found


@pytest.mark.parametrize("broken", ["__init__", "track", "close", "hang"])
def test_a_failure_costs_one_warning(
    make_config: MakeConfig,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    broken: str,
) -> None:
    writer = (sys.executable, str(Path(__file__).with_name("broken_aim.py")), broken)
    monkeypatch.setattr(aim_writer, "WRITER", writer)
    if broken == "hang":
        monkeypatch.setattr(aim_writer, "PATIENCE_S", 5.0)
    assert train(make_config("tracking=aim", "train.max_steps=4")).counts["steps"] == 4
    printed = capsys.readouterr().err
    assert printed.count("Aim is off for this run") == 1
    assert "Traceback" not in printed


def test_a_full_disk_under_aim_does_not_stop_training(
    make_config: MakeConfig, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    disk = tmp_path / "full"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    try:
        places = (f"paths.runs={disk}", f"paths.run={tmp_path / 'run'}")
        config = make_config("tracking=aim", "train.log_every=1", *places)
        assert train(config).counts["steps"] == 16
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    printed = capfd.readouterr().err
    assert printed.count("Aim is off for this run") == 1
    assert "No space left" in printed
    assert "Traceback" not in printed
