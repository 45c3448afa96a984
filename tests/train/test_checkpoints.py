"""Checkpoints: whole or not there, found where the run lies now, never lost to another command."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from moescope.configs.errors import UserError
from moescope.configs.manifest import Manifest, hash_folder
from moescope.configs.ownership import set_aside
from moescope.configs.schema import Config
from moescope.train.callbacks import RouterState
from moescope.train.checkpoints import CheckpointFolder, read_checkpoint
from moescope.train.sealed import DamageError
from moescope.train.trainer import MoescopeTrainer

from .conftest import MakeConfig, train

SETTINGS = ("tracking=none", "train.max_steps=8", "train.eval_every=2", "train.log_every=2")


def interrupted(config: Config, step: int) -> None:
    """Trains, and is stopped after so many steps."""

    def on_optimizer_step(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == step:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RouterState, "on_optimizer_step", on_optimizer_step)
        with pytest.raises(KeyboardInterrupt):
            train(config)


@pytest.fixture(scope="module")
def straight(module_config: MakeConfig) -> tuple[Config, Manifest]:
    """A training that nothing disturbed, and its manifest."""
    config = module_config(*SETTINGS, runs="straight")
    return config, train(config)


@pytest.fixture(scope="module")
def stopped(module_config: MakeConfig) -> Path:
    """The checkpoints of a training that was stopped after step 7 of 8; copy them."""
    config = module_config(*SETTINGS, runs="stopped")
    interrupted(config, 7)
    return config.paths.checkpoints


@pytest.fixture
def resuming(make_config: MakeConfig, stopped: Path) -> MakeConfig:
    """Builds a config whose run holds a copy of the stopped training's checkpoints."""

    def make(*overrides: str, runs: str = "runs") -> Config:
        config = make_config(*SETTINGS, *overrides, runs=runs)
        shutil.copytree(stopped, config.paths.checkpoints)
        return config

    return make


def said(capsys: pytest.CaptureFixture[str], *words: str) -> None:
    """Asserts that one line of what was printed holds every word."""
    lines = capsys.readouterr().err.splitlines()
    assert any(all(word in line for word in words) for line in lines), lines


def flip(path: Path, place: int = -1) -> None:
    """Changes one bit; by default in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if place < 0 else place] ^= 4
    path.write_bytes(content)


def same_result(config: Config, straight: tuple[Config, Manifest]) -> None:
    """Asserts the weights and the metrics of the undisturbed training."""
    weights = hash_folder(config.paths.model)["model.safetensors"]
    assert weights == straight[1].files["model.safetensors"]
    times = ("elapsed_s", "tokens_per_s")
    mine, other = (
        [
            {name: value for name, value in json.loads(line).items() if name not in times}
            for line in path.read_text().splitlines()
        ]
        for path in (config.paths.metrics, straight[0].paths.metrics)
    )
    assert mine == other


def test_last_previous_and_best_are_kept(stopped: Path) -> None:
    steps = {path.name for path in stopped.glob("checkpoint-*")}
    assert {"checkpoint-4", "checkpoint-6"} <= steps
    best = read_checkpoint(stopped / "checkpoint-6").best_step
    assert steps == {"checkpoint-4", "checkpoint-6", f"checkpoint-{best}"}


def test_a_moved_run_publishes_the_trained_weights(
    make_config: MakeConfig, straight: tuple[Config, Manifest]
) -> None:
    config = make_config(*SETTINGS, runs="moved")
    shutil.copytree(straight[0].paths.checkpoints, config.paths.checkpoints)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MoescopeTrainer, "training_step", None)  # one more step would fail
        manifest = train(config)
    assert manifest.counts == straight[1].counts
    same_result(config, straight)


def test_no_file_of_a_run_names_the_place_where_it_lies(
    straight: tuple[Config, Manifest],
) -> None:
    config, place = straight[0], str(straight[0].paths.runs).encode()
    for folder in (config.paths.checkpoints, config.paths.model):
        for path in folder.rglob("*"):
            if path.is_file() and path.name != "manifest.json":  # it quotes the command
                assert place not in path.read_bytes(), path


@pytest.mark.parametrize("loss", ["flipped", "gone"])
def test_only_the_best_checkpoint_is_published(
    resuming: MakeConfig, capsys: pytest.CaptureFixture[str], loss: str
) -> None:
    config = resuming("train.max_steps=6")
    newest = config.paths.checkpoints / "checkpoint-6"
    best = config.paths.checkpoints / "checkpoint-4"
    record = read_checkpoint(newest).model_copy(update={"best_step": 4})
    (newest / "checkpoint.json").unlink()
    record.seal_folder(newest, "checkpoint.json")
    if loss == "flipped":
        flip(best / "model.safetensors")
        with pytest.raises(UserError, match=r"checkpoint-4/model.safetensors: altered.*the best"):
            train(config)
        assert not config.paths.model.exists()
        return
    shutil.rmtree(best)
    assert train(config).counts["best_step"] == 6
    said(capsys, "checkpoint-4, the best so far, is gone; checkpoint-6 takes its place")


def test_weights_that_hash_to_something_else_are_not_published(
    straight: tuple[Config, Manifest], make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(*SETTINGS)
    shutil.copytree(straight[0].paths.checkpoints, config.paths.checkpoints)
    load = torch.nn.Module.load_state_dict

    def forgetful(self: torch.nn.Module, state: dict[str, Any], *args: Any, **named: Any) -> Any:
        state.popitem()
        return load(self, state, *args, **named)

    monkeypatch.setattr(torch.nn.Module, "load_state_dict", forgetful)
    with pytest.raises(UserError, match="not those that were saved"):
        train(config)
    assert not config.paths.model.exists()


FILES = (
    *("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "config.json"),
    *("trainer_state.json", "metrics.jsonl", "checkpoint.json"),
)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["flipped", "cut", "gone", "empty"])
def test_any_damage_is_found_and_the_checkpoint_before_serves(
    stopped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, how: str
) -> None:
    folder = CheckpointFolder(tmp_path / "checkpoints")
    shutil.copytree(stopped, folder.folder)
    owner = folder.stored_owner()
    assert owner is not None
    path = folder.folder / "checkpoint-6" / name
    content = path.read_bytes()
    if how == "flipped":
        flip(path)
    elif how == "gone":
        path.unlink()
    else:
        path.write_bytes(content[: len(content) // 2] if how == "cut" else b"")
    with pytest.raises(DamageError, match=name):
        read_checkpoint(path.parent)
    _, found = folder.open(owner, fresh=False)
    assert found is not None
    assert found.record.step == 4
    said(capsys, f"checkpoint-6/{name}: ", "going back to checkpoint-4")
    assert [record["step"] for record in folder.records()] == [2, 2, 4, 4]


def test_training_goes_on_from_the_checkpoint_before(
    resuming: MakeConfig, straight: tuple[Config, Manifest], capsys: pytest.CaptureFixture[str]
) -> None:
    config = resuming()
    flip(config.paths.checkpoints / "checkpoint-6" / "rng_state.pth")
    train(config)
    said(capsys, "checkpoint-6/rng_state.pth: altered", "going back to checkpoint-4")
    same_result(config, straight)


def test_nothing_whole_is_refused_and_force_starts_afresh(resuming: MakeConfig) -> None:
    config = resuming()
    for path in config.paths.checkpoints.glob("checkpoint-*/optimizer.pt"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"optimizer.pt: altered.*force=true starts afresh"):
        train(config)


@pytest.mark.parametrize("content", [b"", b"{}", None], ids=["empty", "other", "flipped"])
def test_a_damaged_owner_is_restored_from_a_checkpoint(
    resuming: MakeConfig,
    straight: tuple[Config, Manifest],
    capsys: pytest.CaptureFixture[str],
    content: bytes | None,
) -> None:
    config = resuming()
    path = config.paths.checkpoints / "run.json"
    if content is None:
        flip(path)
    else:
        path.write_bytes(content)
    train(config)
    said(capsys, "run.json: ", "restored from", "checkpoint-6")
    same_result(config, straight)


@pytest.mark.parametrize("patience", ["null", "2"])
def test_a_run_killed_after_its_last_checkpoint_takes_no_step(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, patience: str
) -> None:
    score = MoescopeTrainer.score
    losses = iter([3.0, 3.1, 3.2, 3.3])

    def worsening(self: MoescopeTrainer, *arguments: Any) -> dict[str, Any]:
        return score(self, *arguments) | {"loss": next(losses)}

    # eleven batches an epoch and more: the end lies inside an epoch
    config = make_config(*SETTINGS, f"train.early_stopping={patience}")
    with monkeypatch.context() as patch:
        patch.setattr(MoescopeTrainer, "score", worsening)
        patch.setattr(MoescopeTrainer, "load", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train(config)
    monkeypatch.setattr(MoescopeTrainer, "training_step", None)
    counts = train(config).counts
    assert counts["steps"] == (8 if patience == "null" else 6)
    assert counts["best_step"] == 2


@pytest.mark.parametrize(
    "change",
    [
        "train.log_every=3",
        "train.eval_every=3",
        "train.num_workers=1",
        "train.eval_examples=7",
        "train.gradient_checkpointing=true",
        "train.attention=sdpa",
        "train.device=cpu",
    ],
)
def test_what_touches_no_weight_keeps_the_checkpoints(
    resuming: MakeConfig, straight: tuple[Config, Manifest], change: str
) -> None:
    config = resuming(change)
    steps: list[int] = []
    step = RouterState.on_optimizer_step

    def counted(self: Any, args: Any, state: Any, control: Any, **named: Any) -> None:
        steps.append(state.global_step)
        step(self, args, state, control, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RouterState, "on_optimizer_step", counted)
        train(config)
    assert steps == [6, 7]
    final = [read_checkpoint(x.paths.checkpoints / "checkpoint-8") for x in (config, straight[0])]
    assert final[0].weights == final[1].weights
    if "eval_examples" in change:  # the best so far was measured anew
        assert final[0].loss != final[1].loss


def test_more_steps_go_on_training(
    make_config: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ("tracking=none", "train.eval_every=4", "train.warmup=0", "train.schedule=constant")
    longer = make_config(*settings, "train.max_steps=12", runs="longer")
    straight = longer, train(longer)
    grown = make_config(*settings, "train.max_steps=8", runs="grown")
    train(grown)
    grown = make_config(*settings, "train.max_steps=12", runs="grown")
    train(grown)
    said(capsys, "going on from step 8", "ends at step 12 (before: 8)", "learning rate")
    same_result(grown, straight)  # with a constant rate nothing tells the two apart


def test_the_schedule_of_more_steps_holds_from_the_first_of_them(resuming: MakeConfig) -> None:
    config = resuming("train.max_steps=16", "train.log_every=1")
    train(config)
    lines = [json.loads(line) for line in config.paths.metrics.read_text().splitlines()]
    rates = {line["step"]: line["learning_rate"] for line in lines if line["split"] == "train"}
    assert rates[7] > rates[6]  # of 8 steps it was nearly at its floor
    peak = config.train.learning_rate
    assert all(peak >= rates[step] > rates[step + 1] for step in range(7, 15))


def test_batches_may_be_cut_otherwise(
    resuming: MakeConfig, straight: tuple[Config, Manifest]
) -> None:
    config = resuming("train.batch_size=4", "train.gradient_accumulation=2", "model.dropout=0.1")
    counts = train(config).counts
    assert counts["steps"] == 8
    assert counts["train_tokens"] == straight[1].counts["train_tokens"]  # the same examples
    assert counts["validation_loss"] == pytest.approx(straight[1].counts["validation_loss"], 0.01)


@pytest.mark.parametrize("change", ["train.learning_rate=0.001", "train.max_steps=2"])
def test_checkpoints_of_other_settings_are_set_aside(
    resuming: MakeConfig, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    config = resuming(change, "train.eval_every=2")
    for path in config.paths.checkpoints.glob("checkpoint-2"):
        shutil.rmtree(path)
    before = hash_folder(config.paths.checkpoints)
    manifest = train(config)
    aside = config.paths.checkpoints.with_name("checkpoints.1")
    assert hash_folder(aside) == before
    assert manifest.counts["steps"] == config.train.max_steps
    reason = "learning_rate was 0.002" if "rate" in change else "begin at step 4"
    said(capsys, str(aside), reason)


def test_checkpoints_are_taken_up_when_their_settings_return(
    resuming: MakeConfig,
    make_config: MakeConfig,
    straight: tuple[Config, Manifest],
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = resuming()
    train(make_config(*SETTINGS, "train.learning_rate=0.5", "train.max_steps=2"))
    said(capsys, "checkpoints.1", "set aside")
    train(config)
    printed = capsys.readouterr().err
    assert "taken up from" in printed
    assert "step 2 of 8" not in printed, "it began anew"
    same_result(config, straight)
    assert [path.name for path in set_aside(config.paths.checkpoints)] == ["checkpoints.2"]


def test_files_of_somebody_else_are_refused_and_not_touched(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    folder = tmp_path / "thesis"
    (folder / "checkpoint-5").mkdir(parents=True)
    (folder / "chapter.txt").write_text("years of work")
    before = hash_folder(folder)
    for more in ((), ("force=true",)):
        config = make_config(*SETTINGS, f"paths.checkpoints={folder}", *more)
        with pytest.raises(UserError, match=r"thesis: holds files that .*paths\.checkpoints"):
            train(config)
    assert hash_folder(folder) == before
    assert (folder / "checkpoint-5").is_dir()


def test_files_beside_the_checkpoints_stay(resuming: MakeConfig) -> None:
    config = resuming("force=true")
    mine = config.paths.checkpoints / "checkpoint-99" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    (config.paths.checkpoints / "notes.txt").write_text("mine, too")
    train(config)
    assert len(list(config.paths.checkpoints.rglob("mine.txt"))) == 1
    assert (config.paths.checkpoints / "notes.txt").read_text() == "mine, too"


@pytest.mark.parametrize(
    "message",
    [
        "[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0",
        "PytorchStreamWriter failed writing file data/0: inline_container.cc",
    ],
)
def test_a_full_disk_is_said_although_torch_hides_it(
    resuming: MakeConfig,
    straight: tuple[Config, Manifest],
    monkeypatch: pytest.MonkeyPatch,
    message: str,
) -> None:
    config = resuming()

    def full(*arguments: Any, **named: Any) -> None:
        raise RuntimeError(message)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        patch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 0}))
        with pytest.raises(UserError, match=r"checkpoints: cannot write \(No space left"):
            train(config)
    names = {path.name for path in config.paths.checkpoints.iterdir()}
    assert not [name for name in names if name.startswith(".")]
    assert {"checkpoint-4", "checkpoint-6"} <= names
    train(config)
    same_result(config, straight)


@pytest.mark.parametrize("what", ["validation", "gradient"])
def test_no_checkpoint_is_written_of_what_is_not_finite(
    resuming: MakeConfig, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    config = resuming()
    score, clip = MoescopeTrainer.score, MoescopeTrainer._clip_grad_norm
    if what == "validation":
        bad = {"loss": float("nan")}
        monkeypatch.setattr(MoescopeTrainer, "score", lambda *a: score(*a) | bad)
    else:
        lost = torch.tensor(float("inf"))
        monkeypatch.setattr(MoescopeTrainer, "_clip_grad_norm", lambda *a: (clip(*a), lost)[1])
    with pytest.raises(UserError, match=rf"{what}.* is (nan|inf) at step 8; lower train\.learn"):
        train(config)
    assert not (config.paths.checkpoints / "checkpoint-8").exists()
    assert not config.paths.model.exists()
