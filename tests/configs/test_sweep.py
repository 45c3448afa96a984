"""Sweeps: one failed run stops no other, names tell runs apart, the five settings are there."""

import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from moescope.configs.compose import compose_config
from moescope.configs.sweep import Sweep, new_journal, run_name, swept
from tests.conftest import ROOT, Command


def test_a_failed_run_is_named_and_the_others_go_on(command: Command, tmp_path: Path) -> None:
    arguments = (
        *("corpus", "experiment=debug", "corpus.splits.probe_documents=10", "-m"),
        *("source.documents_per_topic=60,2,70", f"paths.runs={tmp_path}"),
    )
    done = command(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("moescope: ")]
    assert len(lines) == 1
    assert "1 of 3 runs failed: debug-source.documents_per_topic_2;" in lines[0]
    names = {path.name for path in tmp_path.iterdir() if (path / "corpus").exists()}
    assert names == {f"debug-source.documents_per_topic_{number}" for number in (60, 70)}
    again = command(*arguments)
    assert again.stderr.count("up to date") == 2


@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_launchers_run_a_sweep_side_by_side(tmp_path: Path, launcher: str) -> None:
    pytest.importorskip(
        f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher",
        reason="needs pip install 'moescope[sweep]'",
    )
    arguments = (
        *("corpus", "experiment=debug", "corpus.splits.probe_documents=10", "-m"),
        *(
            "source.documents_per_topic=60,2",
            f"paths.runs={tmp_path}",
            f"hydra/launcher={launcher}",
        ),
    )
    done = subprocess.run(  # launchers start processes, which forks of a test do badly
        [sys.executable, "-m", "moescope", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "1 of 2 runs failed: debug-source.documents_per_topic_2;" in done.stderr
    assert (tmp_path / "debug-source.documents_per_topic_60" / "corpus" / "audit.json").exists()
    assert not [path.name for path in tmp_path.glob(".sweep.*")]


def test_runs_are_named_by_what_differs() -> None:
    shared = ["train.epochs=2", "experiment=demo", "paths.runs=there"]
    typed = [*shared, "seed=0,1", "router=topk,switch"]
    assert swept([*shared, "seed=1", "router=switch"], typed) == "router=switch,seed=1"
    spelt = ["train.group_by_length=true", "train.learning_rate=1e-3", "seed=0,1"]  # Hydra's: True
    run = ["train.group_by_length=True", "train.learning_rate=0.001", "seed=1"]
    assert swept(run, spelt) == "seed=1"
    one = ["experiment=source_sweep", "setting=length64_mask30"]
    assert swept(one, one, {"setting"}) == "setting=length64_mask30"
    assert run_name("demo", "source.path=/a b/c") == "demo-source.path_a_b_c"
    assert run_name("demo", "router=switch,seed=1") == "demo-router_switch-seed_1"
    names = {run_name("demo", f"key={'x' * 200}{number}") for number in range(9)}
    assert len(names) == 9
    assert all(len(name) <= 120 for name in names)


def test_the_next_command_names_every_run_of_the_sweep() -> None:
    names = {"demo": ["demo-seed_0", "demo-seed_1"], "alone": ["alone"]}
    sweep = Sweep(new_journal([]), names)
    line = sweep.comparison(["experiment=demo", "paths.runs=there"])
    assert line == "moescope compare 'compare.runs=[demo*,alone]' paths.runs=there"


def test_source_sweep_is_the_five_settings() -> None:
    with initialize_config_module("configs", version_base="1.3"):
        tree = compose("moescope", ["experiment=source_sweep"], return_hydra_config=True)
    assert OmegaConf.select(tree, "hydra.mode").name == "MULTIRUN"
    names = OmegaConf.select(tree, "hydra.sweeper.params.setting").split(",")
    assert {path.stem for path in (ROOT / "configs" / "setting").glob("*.yaml")} == set(names)
    configs = [compose_config(["experiment=source_sweep", f"setting={name}"]) for name in names]
    found = {(c.dataset.sequence_length, c.masking.probability) for c in configs}
    assert found == {(64, 0.05), (64, 0.10), (64, 0.15), (64, 0.30), (128, 0.15)}
    assert len({str(config.paths.corpus) for config in configs}) == 1
