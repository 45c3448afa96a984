"""What a report writes besides its page: PNG files, and figures and numbers in Aim."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aim
import pytest

from moescope.configs.schema import Config
from moescope.train import aim_tracking
from moescope.train.owner import OWNER_FILE, Owner

from .browsing import NO_CHROMIUM
from .runs import make_report, write_run
from .stores import Planted

SMALL = Planted(documents_per_topic=12, experts=4, effect=1.5)


class FakeRun:
    """Remembers what an Aim run is given."""

    def __init__(self) -> None:
        self.parameters: dict[str, Any] = {}
        self.tracked: dict[tuple[str, int | None], Any] = {}

    def set(self, key: str, value: dict[str, Any], strict: bool) -> None:
        self.parameters[key] = value

    def track(self, value: Any, name: str, step: int, context: dict[str, Any]) -> None:
        assert step == 0  # a second report replaces the first
        self.tracked[name, context.get("layer")] = value


def tracked_run(folder: Path) -> Config:
    """A planted run whose training was tracked as Aim run "abc"."""
    config = write_run(folder, SMALL, ("tracking=aim",))
    config.paths.checkpoints.mkdir(parents=True)
    owner = Owner(
        settings={}, inputs={}, examples_per_step=1, precision="fp32", total_steps=1, aim_run="abc"
    )
    owner.write(config.paths.checkpoints / OWNER_FILE)
    return config


def test_aim_gets_main_figures_and_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, asked = FakeRun(), []

    @contextmanager
    def reopened(config: Config, run_hash: str) -> Iterator[FakeRun]:
        asked.append(run_hash)
        yield run

    monkeypatch.setattr(aim_tracking, "reopened_run", reopened)
    report = make_report(tracked_run(tmp_path))
    summary = json.loads((report / "summary.json").read_text())
    assert asked == ["abc"]
    assert run.parameters == {"report": summary}
    for layer in summary["layers"]:
        for name in ("topic_information_bits", "max_violation"):
            assert run.tracked[f"report/{name}", layer["layer"]] == layer[name]
    figures = {place: x for place, x in run.tracked.items() if isinstance(x, aim.Figure)}
    wanted = {("report/depth", None), ("report/topics", 0), ("report/topics", 2)}
    assert wanted <= set(figures)
    for (name, layer), figure in figures.items():
        content = str(figure.storage["data"].load())
        assert '"bdata"' not in content, f"{name}: Aim's page reads plain lists alone"
        assert layer is None or f"layer {layer}" in content


def test_untracked_training_sends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **named: Any) -> None:
        raise AssertionError("sent")

    monkeypatch.setattr(aim_tracking, "send_report", refuse)
    make_report(write_run(tmp_path, SMALL, ("tracking=aim",)))  # no run.json
    config = tracked_run(tmp_path / "other")
    make_report(
        config.model_copy(update={"tracking": config.tracking.model_copy(update={"name": "none"})})
    )


def test_a_failing_aim_costs_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = make_report(tracked_run(tmp_path))  # no repository, no such run
    assert "Aim" in capsys.readouterr().err
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
