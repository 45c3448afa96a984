"""A file is the old one or the new one, never a part of it."""

import json
import os
from pathlib import Path

import pytest

from moescope.configs.whole_files import sync_tree, write_json, write_whole, written_whole


def test_a_failure_keeps_the_old_content_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write_whole(path, "old")

    def interrupted() -> None:
        with written_whole(path) as stream:
            stream.write(b"half")
            assert path.read_text() == "old"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("run.json", "old")]


def test_the_content_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    sync, replace = os.fsync, Path.replace

    def fsync(descriptor: int) -> None:
        events.append("sync")
        sync(descriptor)

    def renamed(self: Path, target: Path) -> Path:
        events.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", renamed)
    write_json(tmp_path / "a.json", {"é": [1, None]})
    assert events == ["sync", "rename", "sync"]  # content, name, folder
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"é": [1, None]}


def test_what_others_left_beside_is_not_touched(tmp_path: Path) -> None:
    theirs = tmp_path / ".a.json.partial"
    theirs.write_text("theirs")
    write_json(tmp_path / "a.json", 1)
    assert theirs.read_text() == "theirs"


def test_numbers_that_json_has_not_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert not list(tmp_path.iterdir())


def test_a_tree_is_synced_with_its_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_text("x")
    synced: set[str] = set()
    monkeypatch.setattr(os, "fsync", lambda fd: synced.add(os.readlink(f"/proc/self/fd/{fd}")))
    sync_tree(tmp_path)
    assert synced == {str(tmp_path), *(str(path) for path in tmp_path.rglob("*"))}
