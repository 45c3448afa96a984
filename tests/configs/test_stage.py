"""The stage contract: skip, redo, rename when complete, never half-written."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from moescope.configs.compose import compose_config
from moescope.configs.errors import UserError
from moescope.configs.manifest import hash_folder, read_manifest
from moescope.configs.ownership import make_ours
from moescope.configs.schema import Config
from moescope.configs.stage import Stage, StageRun, execute


def make_stage(work: Callable[[StageRun], Mapping[str, Any]], **changes: Any) -> Stage:
    """Builds a stage around a function that does the work."""
    values: dict[str, Any] = {
        "name": "corpus",
        "summary": "texts",
        "output": "corpus",
        "inputs": {},
        "sections": ("source", "corpus"),
    }
    return Stage(run=work, **(values | changes))


def mask_of(work: Callable[[StageRun], Mapping[str, Any]], **changes: Any) -> Stage:
    """Builds a stage that reads the corpus."""
    own = {"name": "mask", "output": "dataset", "inputs": {"corpus": "corpus"}}
    return make_stage(work, **(own | {"sections": ("dataset",)} | changes))


def config_in(folder: Path, *overrides: str) -> Config:
    """Composes a config whose runs lie in `folder`."""
    return compose_config([f"paths.runs={folder}", "name=run", *overrides])


class Work:
    """Writes one file and counts how often it was asked to."""

    def __init__(self, text: str = "text") -> None:
        self.text, self.calls = text, 0

    def __call__(self, stage_run: StageRun) -> dict[str, int]:
        self.calls += 1
        (stage_run.output_dir / "file.txt").write_text(self.text)
        return {"calls": self.calls}


def test_a_finished_stage_is_skipped_until_its_own_config_changes(tmp_path: Path) -> None:
    work = Work()
    stage = make_stage(work)
    execute(stage, config_in(tmp_path), "test")
    execute(stage, config_in(tmp_path), "test")
    execute(stage, config_in(tmp_path, "train.learning_rate=1"), "test")  # another's section
    assert work.calls == 1
    execute(stage, config_in(tmp_path, "corpus.clean.min_chars=3"), "test")
    assert work.calls == 2
    execute(stage, config_in(tmp_path, "corpus.clean.min_chars=3", "force=true"), "test")
    assert work.calls == 3


def test_a_side_section_never_redoes_the_stage(tmp_path: Path) -> None:
    work = Work()
    stage = make_stage(work, side_sections=("tracking",))
    execute(stage, config_in(tmp_path), "test")
    execute(stage, config_in(tmp_path, "tracking=none"), "test")
    assert work.calls == 1


def test_a_changed_external_input_redoes_the_stage(tmp_path: Path) -> None:
    work, version = Work(), {"package": "1"}
    stage = make_stage(work, external=lambda config: dict(version))
    execute(stage, config_in(tmp_path), "test")
    version["package"] = "2"
    execute(stage, config_in(tmp_path), "test")
    assert work.calls == 2


def test_changed_upstream_content_redoes_the_stage(tmp_path: Path) -> None:
    upstream, work = Work(), Work()
    first = make_stage(upstream)
    second = make_stage(work, name="mask", output="dataset", inputs={"corpus": "corpus"})
    with pytest.raises(UserError, match="run `moescope corpus` first"):
        execute(second, config_in(tmp_path), "test")
    execute(first, config_in(tmp_path), "test")
    execute(second, config_in(tmp_path), "test")
    execute(first, config_in(tmp_path, "force=true"), "test")  # same content again
    execute(second, config_in(tmp_path), "test")
    assert work.calls == 1
    upstream.text = "other"
    execute(first, config_in(tmp_path, "force=true"), "test")
    execute(second, config_in(tmp_path), "test")
    assert work.calls == 2


@pytest.mark.parametrize("force", ["false", "true"])
def test_a_folder_of_something_else_is_never_replaced(tmp_path: Path, force: str) -> None:
    thesis, work = tmp_path / "run" / "corpus" / "thesis.txt", Work()
    thesis.parent.mkdir(parents=True)
    config = config_in(tmp_path, f"force={force}")
    execute(make_stage(work), config, "test")  # an empty folder is nobody's
    thesis.parent.joinpath("manifest.json").unlink()
    thesis.write_text("years of work")
    with pytest.raises(UserError, match=r"files that no stage wrote.*paths\.corpus"):
        execute(make_stage(work), config, "test")
    assert thesis.read_text() == "years of work"
    taken = make_stage(work, name="mask", output="dataset")
    execute(taken, config, "test")
    with pytest.raises(UserError, match="a result of mask, which train would replace"):
        execute(make_stage(work, name="train", output="dataset"), config, "test")
    assert work.calls == 2


def test_inputs_of_two_chains_are_refused(tmp_path: Path) -> None:
    text = Work("first")
    corpus = make_stage(text)
    mask = make_stage(Work(), name="mask", output="dataset", inputs={"corpus": "corpus"})
    both = {"corpus": "corpus", "mask": "dataset"}
    report = make_stage(Work(), name="report", output="report", inputs=both)
    for stage in (corpus, mask, report):
        execute(stage, config_in(tmp_path), "test")
    text.text = "second"
    execute(corpus, config_in(tmp_path, "force=true"), "test")
    with pytest.raises(UserError, match=r"dataset: made from another result of corpus.*redo"):
        execute(report, config_in(tmp_path), "test")
    execute(mask, config_in(tmp_path), "test")
    execute(report, config_in(tmp_path), "test")


@pytest.mark.parametrize("failure", [UserError("no"), KeyboardInterrupt(), RuntimeError("bug")])
def test_a_failure_leaves_the_earlier_result_untouched(
    tmp_path: Path, failure: BaseException
) -> None:
    execute(make_stage(Work("first")), config_in(tmp_path), "test")
    before = hash_folder(tmp_path / "run" / "corpus")

    def fail(stage_run: StageRun) -> dict[str, int]:
        (stage_run.output_dir / "file.txt").write_text("half")
        raise failure

    with pytest.raises(type(failure)):
        execute(make_stage(fail), config_in(tmp_path, "force=true"), "test")
    assert hash_folder(tmp_path / "run" / "corpus") == before
    assert not (tmp_path / "run" / ".corpus.partial").exists()


def test_what_a_killed_run_left_is_not_read(tmp_path: Path) -> None:
    partial = tmp_path / "run" / ".corpus.partial"
    make_ours(partial, "paths.corpus")
    (partial / "old.txt").write_text("half")
    execute(make_stage(Work()), config_in(tmp_path), "test")
    names = {path.name for path in (tmp_path / "run" / "corpus").iterdir()}
    assert names == {"file.txt", "manifest.json"}
    assert not partial.exists()


def test_the_manifest_says_what_was_done(tmp_path: Path) -> None:
    execute(make_stage(Work()), config_in(tmp_path, "seed=3"), "moescope corpus seed=3")
    manifest = read_manifest(tmp_path / "run" / "corpus")
    assert manifest is not None
    assert manifest.seed == 3
    assert manifest.counts == {"calls": 1}
    assert set(manifest.config) == {"source", "corpus", "seed"}
    assert manifest.command == "moescope corpus seed=3"
    assert {"python", "torch", "transformers"} <= set(manifest.versions)
    assert list(manifest.files) == ["file.txt"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: "{", "not a moescope manifest"),
        (lambda text: "[" * 100_000, "not a moescope manifest"),
        (lambda text: text.replace('"format": 1', '"format": 99'), "another version.*format 99"),
        (lambda text: text.replace('"format": 1,', ""), "another version.*format none"),
        (lambda text: text.replace('"calls": 1', '"calls": 9'), "changed since it was written"),
        (lambda text: text.replace('"seed": 0', '"seed": "x"'), "damaged"),
    ],
)
def test_a_manifest_of_no_use_says_what_to_run_again(
    tmp_path: Path, change: Callable[[str], str], words: str
) -> None:
    first, second = make_stage(Work()), mask_of(Work())
    execute(first, config_in(tmp_path), "test")
    path = tmp_path / "run" / "corpus" / "manifest.json"
    path.write_text(change(path.read_text()))
    with pytest.raises(UserError, match=words) as refused:
        execute(second, config_in(tmp_path), "test")
    if "not a moescope" not in words:
        assert "run `moescope corpus` again" in str(refused.value)
        execute(first, config_in(tmp_path), "test")  # and that helps
        execute(second, config_in(tmp_path), "test")
