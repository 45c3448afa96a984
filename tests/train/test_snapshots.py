"""Snapshots are weights on the way to the model, and leave training alone."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from moescope.configs.manifest import read_manifest
from moescope.train.checkpoints import check_snapshot, find_snapshots
from moescope.train.sealed import DamageError
from moescope.train.snapshots import Snapshots

from .conftest import MakeConfig, train


def test_steps_divide_training_evenly() -> None:
    assert Snapshots(Path("x"), 3).steps(400) == {100, 200, 300}
    assert Snapshots(Path("x"), 0).steps(400) == set()
    assert Snapshots(Path("x"), 9).steps(3) == {1, 2}


def test_snapshots_are_kept_and_found_for_their_model_only(make_config: MakeConfig) -> None:
    config = make_config("train.snapshots=3", "train.learning_rate=0.01")
    kept = train(config)
    found = find_snapshots(config.paths.checkpoints, kept)
    assert list(found) == [4, 8, 12]
    weights = [load_file(path / "model.safetensors") for path in found.values()]
    weights.append(load_file(config.paths.model / "model.safetensors"))
    name = next(name for name in weights[0] if name.endswith("mlp.gate.weight"))
    for before, after in pairwise(weights):
        assert before.keys() == after.keys()
        assert not torch.equal(before[name], after[name])

    without = train(make_config("train.snapshots=0", "train.learning_rate=0.01", runs="without"))
    assert without.files["model.safetensors"] == kept.files["model.safetensors"]

    train(make_config("train.snapshots=2", "train.learning_rate=0.02"))  # the same folder
    assert find_snapshots(config.paths.checkpoints, kept) == {}
    newer = read_manifest(config.paths.model)
    assert newer is not None
    assert list(find_snapshots(config.paths.checkpoints, newer)) == [5, 11]


def test_whose_snapshots_they_are_is_known_or_said(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config("train.snapshots=1", "train.max_steps=8")
    kept = train(config)
    (config.paths.checkpoints / "run.json").write_text("")
    assert list(find_snapshots(config.paths.checkpoints, kept)) == [4]
    assert find_snapshots(tmp_path, kept) == {}
    for path in config.paths.checkpoints.glob("checkpoint-*/checkpoint.json"):
        path.write_text("")
    with pytest.raises(DamageError, match=r"checkpoint.json: damaged, so whose snapshots"):
        find_snapshots(config.paths.checkpoints, kept)


def test_a_damaged_snapshot_is_not_used(make_config: MakeConfig) -> None:
    config = make_config("train.snapshots=1", "train.max_steps=4")
    (snapshot,) = find_snapshots(config.paths.checkpoints, train(config)).values()
    check_snapshot(snapshot)
    weights = snapshot / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(DamageError, match=r"model.safetensors: altered .*route.snapshots=false"):
        check_snapshot(snapshot)
