"""What a report writes besides its page: PNG files, and figures and numbers in Aim."""

import json
import sys
from pathlib import Path
from typing import Any

import aim
import pytest

from moescope.configs.schema import Config
from moescope.train import aim_writer
from moescope.train.owner import OWNER_FILE, Owner

from .browsing import NO_CHROMIUM
from .runs import make_report, write_run
from .stores import Planted

SMALL = Planted(documents_per_topic=12, experts=4, effect=1.5)


class FakeWriter:
    """Remembers what Aim's process is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []
        writers.append(self)

    def send(self, verb: str, value: Any = None) -> None:
        self.told.append((verb, json.loads(json.dumps(value))))

    def answer(self) -> None:
        self.told.append(("answer", None))

    def end(self) -> None:
        self.told.append(("end", None))


writers: list[FakeWriter] = []


@pytest.fixture
def fake_writer(monkeypatch: pytest.MonkeyPatch) -> list[FakeWriter]:
    writers.clear()
    monkeypatch.setattr("moescope.analysis.html.aim.AimWriter", FakeWriter)
    return writers


def tracked_run(folder: Path) -> Config:
    """A planted run whose training was tracked as Aim run "abc"."""
    config = write_run(folder, SMALL, ("tracking=aim",))
    config.paths.checkpoints.mkdir(parents=True)
    owner = Owner(
        settings={}, inputs={}, examples_per_step=1, precision="fp32", total_steps=1, aim_run="abc"
    )
    owner.write(config.paths.checkpoints / OWNER_FILE)
    return config


def test_aim_gets_main_figures_and_numbers(tmp_path: Path, fake_writer: list[FakeWriter]) -> None:
    config = tracked_run(tmp_path)
    report = make_report(config)
    summary = json.loads((report / "summary.json").read_text())
    (writer,) = fake_writer
    assert writer.told[0] == ("open", {"runs": str(config.paths.runs.absolute()), "hash": "abc"})
    assert writer.told[1] == ("set", ["report", summary])
    assert [verb for verb, _ in writer.told[-3:]] == ["close", "answer", "end"]
    results = [value for verb, value in writer.told if verb == "measure"]
    tracked = {(name, context.get("layer")): value for name, context, value in results}
    for layer in summary["layers"]:
        for name in ("topic_information_bits", "max_violation"):
            assert tracked[f"report/{name}", layer["layer"]] == layer[name]
    figures = {place: value for place, value in tracked.items() if isinstance(value, dict)}
    wanted = {("report/depth", None), ("report/topics", 0), ("report/topics", 2)}
    assert wanted <= set(figures)
    for (name, layer), figure in figures.items():
        content = json.dumps(figure)
        assert '"bdata"' not in content, f"{name}: Aim's page reads plain lists alone"
        assert layer is None or f"layer {layer}" in content


def test_untracked_training_sends_nothing(tmp_path: Path, fake_writer: list[FakeWriter]) -> None:
    make_report(write_run(tmp_path, SMALL, ("tracking=aim",)))  # no run.json
    config = tracked_run(tmp_path / "other")
    make_report(
        config.model_copy(update={"tracking": config.tracking.model_copy(update={"name": "none"})})
    )
    assert not fake_writer


@pytest.mark.parametrize("broken", ["track", "close", "hang"])
def test_a_failing_aim_costs_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    broken: str,
) -> None:
    script = str(Path(__file__).parents[1] / "train" / "broken_aim.py")
    monkeypatch.setattr(aim_writer, "WRITER", (sys.executable, script, broken))
    monkeypatch.setattr(aim_writer, "PATIENCE_S", 5.0)
    config = tracked_run(tmp_path)
    run = aim.Run(repo=str(config.paths.runs), log_system_params=False)
    path = config.paths.checkpoints / OWNER_FILE
    Owner.read(path).model_copy(update={"aim_run": run.hash}).write(path)
    run.close()
    report = make_report(config)
    assert capsys.readouterr().err.count("report: Aim has none or part") == 1
    assert (report / "summary.json").exists()


@NO_CHROMIUM
def test_png_files_of_every_figure(tmp_path: Path) -> None:
    pytest.importorskip("kaleido", reason="PNG files need kaleido: pip install -e '.[export]'")
    plan = Planted(documents_per_topic=12, experts=4, layers=(0,), effect_layers=(0,))
    report = make_report(write_run(tmp_path, plan, ("report.formats=[png,csv]",)))
    names = {path.stem for path in (report / "figures").iterdir()}
    assert {"depth", "topics-layer-0", "loss", "documents"} <= names
    tables = {path.stem for path in (report / "tables").iterdir()}
    assert {name.partition("-layer-")[0] for name in names} <= tables
    for path in (report / "figures").iterdir():
        assert path.read_bytes().startswith(b"\x89PNG")
        assert path.stat().st_size > 4_000  # not an empty sheet


def test_missing_kaleido_or_browser_is_told_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "kaleido", None)
    report = make_report(write_run(tmp_path / "a", SMALL, ("report.formats=[png,html]",)))
    assert "no PNG files: kaleido is not installed" in capsys.readouterr().err
    assert (report / "report.html").exists()
    assert not (report / "figures").exists()

    class NoBrowser:
        @staticmethod
        def write_fig_from_object_sync(*arguments: Any, **named: Any) -> None:
            raise RuntimeError("no browser")

    monkeypatch.setitem(sys.modules, "kaleido", NoBrowser)
    report = make_report(write_run(tmp_path / "b", SMALL, ("report.formats=[png,html]",)))
    assert "no PNG files: no usable Chromium" in capsys.readouterr().err
    assert not (report / "figures").exists()
