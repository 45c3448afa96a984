"""A pass that is killed is resumed, and its store is the same to the last bit."""

import shutil
from pathlib import Path

import pytest

from moescope.configs.manifest import Manifest
from moescope.configs.schema import Config
from moescope.inference.recording.forward import Observer

from ..runs import encoder, route, save

BATCHES = "route.batch_size=2"  # many chunks
# packed, the small split is one chunk: documents straddle its examples from end to end
pytestmark = pytest.mark.parametrize("dataset", ["none"], indirect=True)


class Killed(BaseException):
    """As Ctrl-C: no handler of the stage may swallow it."""


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch, small_chunks: None) -> dict[str, int]:
    """Saves after every chunk; kills the pass numbered `kill_at`, counts them all in `count`."""
    state = {"count": 0, "kill_at": -1}
    forward = Observer.__call__

    def counted(self: Observer, batch: dict) -> object:
        state["count"] += 1
        if state["count"] == state["kill_at"]:
            raise Killed
        return forward(self, batch)

    monkeypatch.setattr(Observer, "__call__", counted)
    monkeypatch.setattr("moescope.inference.recording.resume.SAVE_EVERY_S", 0.0)
    monkeypatch.setattr("moescope.inference.store.writer.StoreWriter.ROW_GROUP", 5)
    return state


def kill(state: dict[str, int], at: int, dataset: Config, model: str) -> None:
    state |= {"count": 0, "kill_at": at}
    with pytest.raises(Killed):
        route(dataset, model, BATCHES)
    state |= {"count": 0, "kill_at": -1}


@pytest.fixture
def whole(dataset: Config, tmp_path: Path, passes: dict[str, int]) -> tuple[Manifest, str, int]:
    """The store of an undisturbed pass, its model, and how many forward passes it took."""
    model = save(encoder(400), dataset, tmp_path / "model")
    manifest, _ = route(dataset, model, BATCHES, "force=true")
    return manifest, model, passes["count"]


def redo(dataset: Config) -> None:
    """Takes the finished store away, so that the stage runs again without force."""
    shutil.rmtree(dataset.paths.routing)


def test_killed_and_restarted_gives_the_same_bytes(
    dataset: Config, whole: tuple[Manifest, str, int], passes: dict[str, int]
) -> None:
    manifest, model, total = whole
    saved = dataset.paths.routing.parent / ".routing.resume"
    assert not saved.exists(), "a finished pass leaves nothing"
    redo(dataset)
    kill(passes, total // 2, dataset, model)
    kill(passes, total // 4, dataset, model)  # resumed and killed again
    assert (saved / "state.json").exists()
    again, _ = route(dataset, model, BATCHES)
    assert again.files == manifest.files
    assert again.counts["num_tokens"] == manifest.counts["num_tokens"]
    assert passes["count"] < 0.7 * total, "what was done is not done again"
    assert not saved.exists()


def test_killed_while_saving_falls_back_to_the_save_before(
    dataset: Config,
    whole: tuple[Manifest, str, int],
    passes: dict[str, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    manifest, model, _ = whole
    redo(dataset)
    calls = []
    replace = Path.replace

    def dies(source: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == 2:
            raise Killed
        return replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", dies)
        with pytest.raises(Killed):
            route(dataset, model, BATCHES)
    again, _ = route(dataset, model, BATCHES)
    assert again.files == manifest.files


@pytest.mark.parametrize("change", ["seed=1", "route.max_types=60", "damaged", "force=true"])
def test_what_belongs_to_another_pass_is_not_used(
    dataset: Config,
    whole: tuple[Manifest, str, int],
    passes: dict[str, int],
    change: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, model, total = whole
    redo(dataset)
    kill(passes, total // 2, dataset, model)
    saved = dataset.paths.routing.parent / ".routing.resume"
    if change == "damaged":
        for file in saved.glob("tables-*"):
            file.write_bytes(file.read_bytes()[:40])
    before = capsys.readouterr()
    assert "going on" not in before.err
    route(dataset, model, BATCHES, *([] if change == "damaged" else [change]))
    assert passes["count"] == total
    assert ("starting afresh" in capsys.readouterr().err) == (change == "damaged")
