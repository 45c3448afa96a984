"""Two processes that share a split write the same store as one, to the last bit."""

import subprocess
import sys
from pathlib import Path

import pytest

from configs.manifest import read_manifest
from configs.schema import Config
from tests.conftest import ROOT

from .runs import encoder, overrides_of, route, save

# small chunks, so that there is something to share, and saves after each
SCRIPT = """
import sys
import inference.recording, inference.spool
from inference.route import run_processes
inference.recording.MIN_EXAMPLES, inference.spool.SAVE_EVERY_S = 1, 0.0
sys.exit(run_processes(sys.argv[1:]))
"""


def run_two(script: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    script.write_text(SCRIPT)
    return subprocess.run(
        [*launcher, "--nproc-per-node", "2", str(script), *overrides],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    )


@pytest.mark.parametrize("dataset", ["none"], indirect=True)
def test_two_processes_write_the_store_of_one(
    dataset: Config, tmp_path: Path, small_chunks: None
) -> None:
    model = save(encoder(400), dataset, tmp_path / "model")
    settings = (f"route.model={model}", "route.batch_size=2", "route.knockout=top")
    alone, _ = route(dataset, model, *settings[1:], "force=true")
    target = tmp_path / "routing"
    overrides = overrides_of(dataset.paths.runs, *settings, f"paths.routing={target}")
    done = run_two(tmp_path / "two.py", *overrides)
    assert done.returncode == 0, done.stderr
    together = read_manifest(target)
    assert together is not None
    assert together.files == alone.files
    assert not (tmp_path / ".routing.spool").exists()
