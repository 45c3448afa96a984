"""Plugins: the worked example of docs/extending.md, run from a folder outside the package."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, Command

SMALL = (
    *("source=verse", "source.lines=60", "corpus.splits.probe_documents=10"),
    *("tokenizer.vocab_size=300", "dataset.sequence_length=32", "model.num_hidden_layers=2"),
    *("train.batch_size=8", "train.max_steps=4", "train.eval_every=2", "train.log_every=2"),
    *("report.permutations=19", "report.bootstrap=10", "route.knockout=none", "tracking=none"),
)


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    path = tmp_path_factory.mktemp("elsewhere") / "verse.py"
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    path.write_text("\n\n".join(blocks), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def finished(
    plugin: Path, command: Command, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[str]]:
    """The folder of a run with every part of the plugin, and the overrides that made it."""
    runs = tmp_path_factory.mktemp("runs")
    overrides = [f"plugins=[{plugin}]", f"paths.runs={runs}", "name=verse", *SMALL]
    overrides += ["router=cosine", "router.temperature=0.1", "router.top_k=1"]
    overrides += ["balance.peak=0.01", "masking=pairs", "report.busy.share=0.4"]
    done = command("pipeline", *overrides)
    assert done.returncode == 0, done.stderr
    assert "leans on" in done.stdout + done.stderr
    return runs / "verse", overrides


def test_every_part_is_used_and_named_by_the_manifests(
    finished: tuple[Path, list[str]], plugin: Path
) -> None:
    run, _ = finished
    hashes = set()
    for folder in ("corpus", "dataset", "model", "routing", "report"):
        manifest = json.loads((run / folder / "manifest.json").read_text())
        hashes.add(manifest["inputs"][f"plugin {plugin}"])
    assert len(hashes) == 1
    config = json.loads((run / "model" / "config.json").read_text())
    assert config["router"] == {"name": "cosine", "temperature": 0.1}
    assert "balance" in (run / "metrics.jsonl").read_text()
    assert '"peak"' in (run / "metrics.jsonl").read_text()
    assert '"short"' in (run / "routing" / "store.json").read_text()
    summary = json.loads((run / "report" / "summary.json").read_text())
    assert all(1 <= layer["busy_experts"] <= 8 for layer in summary["layers"])
    assert any(sentence["subject"] == "busy" for sentence in summary["verdict"])
    assert (run / "report" / "tables" / "busy.csv").exists()
    assert 'id="busy"' in (run / "report" / "report.html").read_text()


def test_a_plugin_that_changes_redoes_the_stages_that_used_it(
    finished: tuple[Path, list[str]], plugin: Path, command: Command
) -> None:
    _, overrides = finished
    done = command("pipeline", *overrides)
    assert (done.stdout + done.stderr).count("up to date") == 5
    unused = [o for o in overrides if not o.startswith(("router", "balance.peak", "masking="))]
    text = plugin.read_text()
    try:
        plugin.write_text(text + "\n# another line\n")
        done = command("corpus", *unused)
        assert "corpus: wrote" in done.stdout + done.stderr
    finally:
        plugin.write_text(text)


def test_help_and_mistakes_know_the_plugin(plugin: Path, command: Command) -> None:
    own = f"plugins=[{plugin}]"
    shown = command("train", "--help", own).stdout
    for line in ("router.temperature", "balance.peak = 0.0", "1 at perfect balance"):
        assert line in shown
    assert "Softmax top-k of cosine" in shown
    assert "report.busy.share = 0.5" in command("report", "--help", own).stdout
    for override, said in (
        ("router.temperature=warm", "router.temperature=warm"),
        ("router.temperatur=1", "did you mean 'router.temperature'"),
        ("balance.peak=-1", "balance.peak=-1"),
        ("report.busy.share=2", "report.busy.share=2"),
    ):
        done = command("train", own, "router=cosine", override)
        assert done.returncode == 2
        assert said in done.stderr
        assert done.stderr.strip().count("\n") == 0


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no_such_module_of_mine", "no such module"),
        ("/no/such/file.py", "/no/such/file.py is no file"),
        ("broken.py", "ZeroDivisionError"),
        ("twice.py", "there is a router named 'topk'"),
    ],
)
def test_a_plugin_that_cannot_be_loaded_is_one_line(
    name: str, said: str, tmp_path: Path, command: Command
) -> None:
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "twice.py").write_text(
        "import moescope\n"
        "from moescope.model.router_topk import TopKRouter\n"
        "moescope.register_router('topk')(TopKRouter)\n"
    )
    own = name if "/" in name or "." not in name else tmp_path / name
    done = command("corpus", f"plugins=[{own}]", f"paths.runs={tmp_path / 'runs'}")
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.strip().count("\n") == 0
    assert not (tmp_path / "runs").exists()


def test_a_plugin_is_loaded_only_when_the_command_names_it(
    finished: tuple[Path, list[str]], command: Command, tmp_path: Path
) -> None:
    run = shutil.copytree(finished[0], tmp_path / "verse")
    own = ("report", f"paths.runs={tmp_path}", "name=verse")
    done = command(*own)
    assert done.returncode == 2
    assert "report ran with plugins=[" in done.stderr
    assert "add plugins=[" in done.stderr
    done = command(*own, "plugins=[]")
    assert done.returncode == 0, done.stderr
    assert "starts from the defaults" in done.stdout + done.stderr
    summary = json.loads((run / "report" / "summary.json").read_text())
    assert all("busy_experts" not in layer for layer in summary["layers"])


def test_an_entry_point_is_a_plugin_by_name(plugin: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    info = site / "verse-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "verse_of_mine.py").write_text(plugin.read_text())
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: verse\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[moescope.plugins]\nverse = verse_of_mine\n")
    done = subprocess.run(
        [sys.executable, "-m", "moescope", "train", "--help", "plugins=[verse]"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(site)},
    )
    assert "balance.peak" in done.stdout, done.stderr
