"""Results that are replaced are kept, what others wrote is never touched, kills lose nothing."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from moescope.configs import folders
from moescope.configs.compose import compose_config
from moescope.configs.cross_checks import check_together
from moescope.configs.errors import UserError
from moescope.configs.manifest import hash_folder
from moescope.configs.ownership import MARK, is_json_lines, make_ours, remove_ours
from moescope.configs.stage import StageRun, execute
from moescope.configs.stages import PIPELINE
from tests.configs.test_stage import Work, config_in, make_stage, mask_of


def files_below(folder: Path) -> dict[str, str]:
    """Every file, hidden ones too, but for the caches of hashes."""
    return {n: h for n, h in hash_folder(folder).items() if not n.endswith(".hashes.json")}


def publish(run: StageRun) -> dict[str, Any]:
    """A stage that writes metrics beside its folder."""
    (run.output_dir / "weights").write_text(str(run.config.train.learning_rate))
    run.beside["metrics"].write_text('{"split": "train", "step": 1}\n')
    return {}


TRAIN = {"name": "train", "output": "model", "sections": ("train",), "beside": ("metrics",)}


@pytest.mark.parametrize("place", ["corpus", ".corpus.partial", ".corpus.replaced"])
def test_somebodys_folder_is_refused_wherever_it_lies(tmp_path: Path, place: str) -> None:
    thesis = tmp_path / "run" / place / "thesis.txt"
    thesis.parent.mkdir(parents=True)
    thesis.write_text("years of work")
    before = files_below(tmp_path)
    for force in ("true", "false"):
        with pytest.raises(UserError, match="files that no stage wrote"):
            execute(make_stage(Work()), config_in(tmp_path, f"force={force}"), "test")
    assert files_below(tmp_path) == before


@pytest.mark.parametrize("content", ["years of work", '{"my": "data"}\n', ""])
def test_somebodys_file_is_refused(tmp_path: Path, content: str) -> None:
    theirs = tmp_path / "thesis.txt"
    theirs.write_text(content)
    config = config_in(tmp_path, f"paths.metrics={theirs}")
    if content:
        with pytest.raises(UserError, match=r"thesis.txt: no stage wrote.*paths.metrics"):
            execute(make_stage(publish, **TRAIN), config, "test")
        assert theirs.read_text() == content
    else:  # an empty file is nobody's
        execute(make_stage(publish, **TRAIN), config, "test")


def test_the_metrics_of_another_run_are_not_replaced(tmp_path: Path) -> None:
    stage = make_stage(publish, **TRAIN)
    execute(stage, config_in(tmp_path), "test")
    theirs = tmp_path / "run" / "metrics.jsonl"
    config = config_in(tmp_path, "name=other", f"paths.metrics={theirs}")
    with pytest.raises(UserError, match=r"metrics\.jsonl: no stage wrote"):
        execute(stage, config, "test")


def test_a_lock_is_not_written_into_somebodys_file(tmp_path: Path) -> None:
    theirs = tmp_path / "run" / ".corpus.lock"
    theirs.parent.mkdir()
    theirs.write_text("theirs")
    with pytest.raises(UserError, match="lock"):
        execute(make_stage(Work()), config_in(tmp_path), "test")
    assert theirs.read_text() == "theirs"


def test_results_of_other_settings_are_kept_under_a_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage, run = make_stage(publish, **TRAIN), tmp_path / "run"
    execute(stage, config_in(tmp_path, "train.learning_rate=1"), "test")
    first = hash_folder(run / "model")
    execute(stage, config_in(tmp_path, "train.learning_rate=2"), "test")
    execute(stage, config_in(tmp_path, "train.learning_rate=3"), "test")
    assert hash_folder(run / "model.1") == first
    assert (run / "model.2" / "weights").read_text() == "2.0"
    assert (run / "metrics.1.jsonl").exists()
    assert (run / "metrics.2.jsonl").exists()
    assert capsys.readouterr().err.count("the earlier result is kept as") == 2
    execute(stage, config_in(tmp_path, "train.learning_rate=3", "force=true"), "test")
    assert not (run / "model.3").exists(), "the very same is not kept twice"


def test_a_file_that_somebody_added_is_kept(tmp_path: Path) -> None:
    stage, folder = make_stage(Work()), tmp_path / "run" / "corpus"
    execute(stage, config_in(tmp_path), "test")
    (folder / "notes.txt").write_text("mine")
    execute(stage, config_in(tmp_path, "force=true"), "test")
    assert (tmp_path / "run" / "corpus.1" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("kill_at", [1, 2, 3])
def test_a_kill_between_the_renames_loses_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kill_at: int
) -> None:
    old, folder = Work("old"), tmp_path / "run" / "corpus"
    execute(make_stage(old), config_in(tmp_path), "test")
    renames = []

    def dies(self: Path, target: Path) -> Path:
        renames.append(target)
        if len(renames) == kill_at:
            raise Killed
        return Path(os.rename(self, target) or target)

    class Killed(BaseException):
        pass

    changed = config_in(tmp_path, "corpus.clean.min_chars=3")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", dies)
        # a killed process cleans nothing up
        patched.setattr(folders, "remove_ours", lambda *_: None)
        with pytest.raises(Killed):
            execute(make_stage(Work("new")), changed, "test")
    reader = Work()
    execute(mask_of(reader), changed, "test")  # finds the corpus, the old or the new
    texts = {path.read_text() for path in tmp_path.rglob("file.txt") if "dataset" not in str(path)}
    assert "old" in texts
    assert (folder / "file.txt").read_text() == ("old" if kill_at < 3 else "new")
    execute(make_stage(Work("new")), changed, "test")
    assert (folder / "file.txt").read_text() == "new"
    assert (tmp_path / "run" / "corpus.1" / "file.txt").read_text() == "old"
    assert not [path for path in (tmp_path / "run").iterdir() if "replaced" in path.name]


def test_a_failed_command_leaves_no_folder(tmp_path: Path) -> None:
    def fail(run: StageRun) -> dict[str, Any]:
        raise UserError("no")

    for stage in (make_stage(fail), mask_of(fail)):
        with pytest.raises(UserError):
            execute(stage, config_in(tmp_path / "deep" / "runs"), "test")
    assert not list(tmp_path.iterdir())


def test_what_is_half_removed_is_still_known(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    make_ours(folder, "paths.corpus")
    (folder / "file").write_text("x")
    shutil.copytree(folder, tmp_path / "again")
    remove_ours(folder, "paths.corpus")
    assert not folder.exists()
    (tmp_path / "again" / MARK).unlink()
    with pytest.raises(UserError, match=r"paths\.corpus"):
        remove_ours(tmp_path / "again", "paths.corpus")
    (tmp_path / "link").symlink_to(tmp_path / "again")
    with pytest.raises(UserError):
        remove_ours(tmp_path / "link", "paths.corpus")
    assert (tmp_path / "again" / "file").exists()


def test_json_lines_are_known_by_their_keys(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    assert is_json_lines(path, "step")
    for content, ours in (
        ("", True),
        ('{"step": 1}\n{"step": 2}\n', True),
        ('{"step": 1}\n{"st', True),  # cut short by a kill
        ('{"st', False),
        ('{"step": 1}\n{"text": 2}\n', False),
        ("[1]\n", False),
        ("text\n", False),
    ):
        path.write_text(content)
        assert is_json_lines(path, "step") == ours, content


@pytest.mark.parametrize("place", ["dataset", "checkpoints", "model", "report"])
def test_somebodys_folder_is_found_before_the_first_stage_writes(
    tmp_path: Path, place: str
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    config = compose_config([f"paths.runs={tmp_path / 'runs'}", f"paths.{place}={mine}"])
    with pytest.raises(UserError, match=f"paths.{place}"):
        check_together(PIPELINE, {stage.name: config for stage in PIPELINE}, {})
    assert [path.name for path in mine.iterdir()] == ["notes.txt"]
    assert not (tmp_path / "runs").exists()
