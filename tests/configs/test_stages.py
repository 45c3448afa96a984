"""The stages name work that exists, and import it only to do it."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from pkgutil import resolve_name

import pytest

from moescope.configs.schema import Config
from moescope.configs.stage import Stage
from moescope.configs.stages import STAGES
from tests.conftest import ROOT, Command

LIGHT = """
import sys
from moescope.command_line import main
assert main(sys.argv[1:]) == 0
heavy = {"torch", "transformers", "pandas", "plotly", "sklearn"} & set(sys.modules)
sys.exit(f"imported: {heavy}" if heavy else 0)
"""


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_work_and_fingerprints_are_where_the_stage_says(stage: Stage) -> None:
    for function in (stage.run, stage.external):
        if places := getattr(function, "args", ()):
            assert callable(resolve_name(*places))
    assert {stage.output, *stage.inputs.values()} <= set(
        Config.model_fields["paths"].annotation.model_fields
    )
    assert {*stage.sections, *stage.side_sections} <= set(Config.model_fields)
    assert set(stage.inputs) <= set(STAGES)


def test_the_version_is_told(command: Command) -> None:
    done = command("--version")
    assert (done.returncode, done.stdout) == (0, f"{version('moescope')}\n")


def run_light(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", LIGHT, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("name", ["pipeline", "generate", *STAGES])
def test_help_waits_for_no_library(name: str) -> None:
    done = run_light(name, "--help")
    assert done.returncode == 0, done.stderr


def test_a_finished_pipeline_waits_for_no_library(debug_run: Path) -> None:
    done = run_light("pipeline", "experiment=debug", f"paths.runs={debug_run.parent}")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("up to date") == 5
