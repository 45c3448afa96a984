"""Inputs are what the manifest says: damage is found and named, races record nothing wrong."""

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from moescope.configs import verification
from moescope.configs.errors import UserError
from moescope.configs.locks import reading, writing
from moescope.configs.manifest import hash_file, read_manifest
from moescope.configs.stage import StageRun, execute
from tests.configs.test_stage import Work, config_in, make_stage, mask_of


def flip(path: Path) -> None:
    """Turns one bit, and nothing else: size and time stay."""
    status, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink])
def test_a_damaged_input_is_named_and_not_used(tmp_path: Path, damage: Any) -> None:
    first, reader = make_stage(Work("some text")), Work()
    execute(first, config_in(tmp_path), "test")
    damage(tmp_path / "run" / "corpus" / "file.txt")
    with pytest.raises(UserError, match=r"corpus/file\.txt: is not what.*moescope corpus. again"):
        execute(mask_of(reader), config_in(tmp_path), "test")
    assert reader.calls == 0
    execute(first, config_in(tmp_path), "test")  # notices, too, and that helps
    execute(mask_of(reader), config_in(tmp_path), "test")
    assert reader.calls == 1


def test_an_unchanged_file_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[Path] = []

    def counting(path: Path) -> str:
        hashed.append(path)
        return hash_file(path)

    first = make_stage(Work())
    execute(first, config_in(tmp_path), "test")
    monkeypatch.setattr(verification, "hash_file", counting)
    execute(first, config_in(tmp_path), "test")
    execute(mask_of(Work()), config_in(tmp_path), "test")
    assert hashed == []
    (tmp_path / "run" / ".corpus.hashes.json").write_text("{}")  # somebody else's: not written
    for _ in range(2):
        execute(first, config_in(tmp_path), "test")
    assert len(hashed) == 2
    (tmp_path / "run" / ".corpus.hashes.json").unlink()
    for _ in range(2):
        execute(first, config_in(tmp_path), "test")
    assert len(hashed) == 3


def test_a_file_beside_is_verified_with_its_folder(tmp_path: Path) -> None:
    def publish(run: StageRun) -> dict[str, Any]:
        run.beside["metrics"].write_text('{"split": "train", "step": 1}\n')
        return {}

    own = {"name": "train", "output": "model", "sections": ("train",), "beside": ("metrics",)}
    report = {"name": "report", "output": "report", "inputs": {"train": "model"}}
    execute(make_stage(publish, **own), config_in(tmp_path), "test")
    flip(tmp_path / "run" / "metrics.jsonl")
    with pytest.raises(UserError, match=r"metrics\.jsonl: is not what `moescope train` wrote"):
        execute(make_stage(Work(), **report), config_in(tmp_path), "test")


def test_an_input_that_changes_meanwhile_is_not_recorded(tmp_path: Path) -> None:
    outside = {"version": "1"}

    def changes(run: StageRun) -> dict[str, Any]:
        outside["version"] = "2"
        return {}

    stage = make_stage(changes, external=lambda config: dict(outside))
    with pytest.raises(UserError, match=r"changed by another command meanwhile.*again"):
        execute(stage, config_in(tmp_path), "test")
    assert not list(tmp_path.iterdir())


def test_mask_and_corpus_at_once_record_the_corpus_that_was_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The race: `corpus` with other settings while `mask` reads."""
    execute(make_stage(Work("first")), config_in(tmp_path), "test")
    reads, read_on = threading.Event(), threading.Event()

    def slow_mask(run: StageRun) -> dict[str, Any]:
        before = (run.config.paths.corpus / "file.txt").read_text()
        reads.set()
        assert read_on.wait(20)
        after = (run.config.paths.corpus / "file.txt").read_text()
        (run.output_dir / "file.txt").write_text(before + after)
        return {}

    other = config_in(tmp_path, "corpus.clean.min_chars=3")
    mask = threading.Thread(
        target=execute, args=(mask_of(slow_mask), config_in(tmp_path), "moescope mask name=run")
    )
    corpus = threading.Thread(target=execute, args=(make_stage(Work("second")), other, "other"))
    mask.start()
    assert reads.wait(20)
    corpus.start()
    printed = ""
    while "which is using" not in printed:  # the line may be read in pieces
        assert corpus.is_alive()
        printed += capsys.readouterr().err
        time.sleep(0.01)
    assert f"`moescope mask name=run` (process {os.getpid()}, since 20" in printed
    read_on.set()
    mask.join(20)
    corpus.join(20)
    run = tmp_path / "run"
    assert (run / "dataset" / "file.txt").read_text() == "firstfirst"
    assert (run / "corpus" / "file.txt").read_text() == "second"
    dataset, kept = read_manifest(run / "dataset"), read_manifest(run / "corpus.1")
    assert dataset is not None
    assert kept is not None
    assert dataset.inputs["corpus"] == kept.fingerprint


def test_readers_share_a_folder_and_leave_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    with reading(folder, "one"):
        with reading(folder, "two"):
            pass
        assert (tmp_path / ".corpus.lock").exists(), "one still reads"
    with writing(folder, "three"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_stage_never_writes_where_it_reads(tmp_path: Path) -> None:
    execute(make_stage(Work()), config_in(tmp_path), "test")
    config = config_in(tmp_path, f"paths.dataset={tmp_path}/run/corpus")
    with pytest.raises(UserError, match=r"paths\.dataset.*reads this folder"):
        execute(mask_of(Work()), config, "test")
