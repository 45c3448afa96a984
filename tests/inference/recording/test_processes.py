"""Two processes that record a split in shards write the same store as one, to the last bit."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from moescope.configs.manifest import read_manifest
from moescope.configs.schema import Config
from moescope.inference.recording.forward import Observer
from moescope.inference.recording.processes import Shard
from moescope.inference.recording.recording import open_recording
from moescope.inference.recording.resume import SavedPass
from moescope.inference.recording.shards import merge_shards, record_shard
from moescope.inference.store.schema import DOCUMENTS_FILE
from moescope.inference.store.writer import StoreWriter
from tests.conftest import ROOT

from ..runs import encoder, make_config, overrides_of, route, save

# small chunks, so that each process has some, and saves after each
SCRIPT = """
import sys
from moescope.inference.recording import recording, resume
from moescope.inference.route import run_processes
recording.MIN_EXAMPLES, resume.SAVE_EVERY_S = 1, 0.0
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


class Killed(BaseException):
    """As Ctrl-C."""


@pytest.mark.parametrize("dataset", ["none"], indirect=True)
def test_a_killed_shard_is_resumed_and_shards_add_up(
    dataset: Config, tmp_path: Path, small_chunks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moescope.inference.recording.resume.SAVE_EVERY_S", 0.0)
    monkeypatch.setattr(StoreWriter, "ROW_GROUP", 1)  # documents go to disk at once
    model = save(encoder(400), dataset, tmp_path / "model")
    _, store = route(dataset, model, "route.batch_size=2")
    config = make_config(dataset.paths.runs, f"route.model={model}", "route.batch_size=2")
    manifest, forward, calls = read_manifest(dataset.paths.dataset), Observer.__call__, []
    assert manifest is not None

    def killed(self: Observer, batch: dict) -> object:
        calls.append(batch)
        if len(calls) == 3:
            raise Killed
        return forward(self, batch)

    with (
        open_recording(config, manifest) as recording,
        StoreWriter(tmp_path, num_layers=2, num_experts=6, num_slots=2) as writer,
    ):
        saved = SavedPass(tmp_path / "saved", "key")
        with monkeypatch.context() as patched:
            patched.setattr(Observer, "__call__", killed)
            with pytest.raises(Killed):
                record_shard(recording, saved, Shard(1, 3))
        for rank in (2, 1, 0):
            record_shard(recording, saved, Shard(rank, 3))
        recorder = merge_shards(recording, saved, writer, 3)
        sample, experts, _ = recorder.sample.columns(2, 2)
        tables = recorder.tables.arrays()
    assert recorder.num_tokens == store.facts.num_tokens
    for name, table in tables.items():
        assert np.array_equal(table, store.tables[name]), name
    assert np.array_equal(sample["token_id"], store.sample["token_id"])
    assert np.array_equal(experts, store.sample_experts)
    written = pq.read_table(tmp_path / DOCUMENTS_FILE)
    assert written.equals(pq.read_table(store.folder / DOCUMENTS_FILE))


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
    left = sorted(path.name for path in tmp_path.iterdir() if "resume" in path.name)
    assert not left
