"""The train stage as a whole: resuming, checkpoints, what it writes, what it refuses."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM, AutoTokenizer

from moescope.configs.errors import UserError
from moescope.configs.schema import Config
from moescope.train.callbacks import RouterState
from moescope.train.trainer import MoescopeTrainer

from .conftest import MakeConfig, train

TIMES = ("elapsed_s", "tokens_per_s")


def records(config: Config) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in config.paths.metrics.read_text().splitlines()]
    return [{key: line[key] for key in line if key not in TIMES} for line in lines]


def assert_same_weights(first: Path, second: Path) -> None:
    one, other = load_file(first / "model.safetensors"), load_file(second / "model.safetensors")
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def interrupt_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    def on_optimizer_step(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == step:
            raise KeyboardInterrupt

    monkeypatch.setattr(RouterState, "on_optimizer_step", on_optimizer_step)


@pytest.mark.parametrize(
    "overrides",
    [("train.gradient_accumulation=2",), ("router=switch", "router.jitter=0.1")],
    ids=["accumulation", "router noise"],
)
def test_resuming_equals_never_stopping(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, overrides: tuple[str, ...]
) -> None:
    # eleven batches an epoch: stops, and resumes, inside the second
    settings = ("tracking=none", "train.batch_size=24", "train.max_steps=20", *overrides)
    straight = make_config(*settings, runs="straight")
    train(straight)
    stopped = make_config(*settings, runs="stopped")
    with monkeypatch.context() as patch:
        interrupt_at(patch, 18)
        with pytest.raises(KeyboardInterrupt):
            train(stopped)
    assert not stopped.paths.model.exists()
    assert not stopped.paths.metrics.exists()
    train(stopped)
    assert records(straight)[-1]["epoch"] > 1
    assert_same_weights(straight.paths.model, stopped.paths.model)
    assert records(stopped) == records(straight)


def test_a_run_stopped_after_its_last_step_only_finishes(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ("tracking=none", "train.max_steps=6", "train.eval_every=6")
    straight, stopped = make_config(*settings, runs="a"), make_config(*settings, runs="b")
    counts = train(straight).counts
    with monkeypatch.context() as patch:
        patch.setattr(
            "moescope.train.train.results", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt())
        )
        with pytest.raises(KeyboardInterrupt):
            train(stopped)
    with monkeypatch.context() as patch:
        patch.setattr(MoescopeTrainer, "training_step", None)  # one more step would fail
        assert train(stopped).counts == counts
    assert_same_weights(straight.paths.model, stopped.paths.model)


def test_checkpoints_of_another_config_are_not_resumed(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        interrupt_at(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            train(make_config("tracking=none", "train.max_steps=8"))
    changed = make_config("tracking=none", "train.max_steps=8", "train.learning_rate=0.001")
    train(changed)
    straight = make_config(
        "tracking=none", "train.max_steps=8", "train.learning_rate=0.001", runs="straight"
    )
    train(straight)
    assert_same_weights(straight.paths.model, changed.paths.model)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "rng_state.pth"])
def test_a_truncated_checkpoint_is_named_and_force_starts_afresh(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    settings = ("tracking=none", "train.max_steps=8")
    config = make_config(*settings)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            train(config)
    (path,) = config.paths.checkpoints.glob(f"checkpoint-4/{name}")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=rf"checkpoint-4/{name}.*force=true"):
        train(config)
    assert train(make_config(*settings, "force=true")).counts["steps"] == 8


def test_written_model_is_the_best_one_and_loads_by_its_auto_class(make_config: MakeConfig) -> None:
    config = make_config("tracking=none")
    manifest = train(config)
    validation = [r for r in records(config) if r["split"] == "validation"]
    best = min(validation, key=lambda record: record["loss"])
    assert manifest.counts["best_step"] == best["step"]
    assert manifest.counts["best_step_tokens"] == best["tokens"]
    assert_same_weights(config.paths.model, config.paths.checkpoints / f"checkpoint-{best['step']}")
    model = AutoModelForMaskedLM.from_pretrained(config.paths.model)
    tokenizer = AutoTokenizer.from_pretrained(config.paths.model)
    ids = tokenizer("some words", return_tensors="pt")["input_ids"]
    assert model(input_ids=ids).logits.shape == (*ids.shape, len(tokenizer))
    total = sum(parameter.numel() for parameter in model.parameters())
    assert manifest.counts["parameters"] == total
    assert manifest.counts["active_parameters"] < total


def test_metrics_follow_the_contract(make_config: MakeConfig) -> None:
    config = make_config("tracking=none")
    manifest = train(config)
    lines = [json.loads(line) for line in config.paths.metrics.read_text().splitlines()]
    trained = [line for line in lines if line["split"] == "train"]
    assert [line["step"] for line in trained] == list(range(2, 17, 2))
    assert [line["step"] for line in lines if line["split"] == "validation"] == [4, 8, 12, 16]
    assert trained[-1]["tokens"] == manifest.counts["train_tokens"]
    for line in lines:
        assert set(line["balance"]) == {"switch", "z"}
        assert [layer["layer"] for layer in line["layers"]] == [0, 1]
        for layer in line["layers"]:
            assert sum(layer["load"]) == pytest.approx(1)
        assert line["perplexity"] == pytest.approx(np.exp(line["loss"]))
        rates = {"learning_rate", "tokens_per_s", "grad_norm"}
        assert rates <= set(line) if line["split"] == "train" else not rates & set(line)
    assert set(lines[-1]["topics"]) <= {f"topic_{i}" for i in range(4)}
    assert all(line["tokens_per_s"] > 0 for line in trained)


def test_dense_model_trains_without_router_metrics(make_config: MakeConfig) -> None:
    config = make_config("tracking=none", "model.num_experts=0", "train.max_steps=4")
    manifest = train(config)
    assert manifest.counts["parameters"] == manifest.counts["active_parameters"]
    for record in records(config):
        assert record["layers"] == []
        assert record["balance"] == {}


def test_early_stopping_counts_evaluations_without_improvement(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = MoescopeTrainer.score
    losses = iter([3.0, 2.0, 2.5, 2.6, 2.7, 2.8])

    def worsening(self: MoescopeTrainer, *arguments: Any) -> dict[str, Any]:
        return score(self, *arguments) | {"loss": next(losses)}

    monkeypatch.setattr(MoescopeTrainer, "score", worsening)
    settings = ("train.eval_every=2", "train.early_stopping=2")
    config = make_config("tracking=none", *settings)
    counts = train(config).counts
    assert counts["steps"] == 8
    assert counts["best_step"] == 4
    tokens = {r["step"]: r["tokens"] for r in records(config) if r["split"] == "validation"}
    assert counts["best_step_tokens"] == tokens[4] < tokens[8] == counts["train_tokens"]


def test_workers_and_length_groups_do_not_change_what_is_learnt(make_config: MakeConfig) -> None:
    settings = ("tracking=none", "train.max_steps=4")
    alone = make_config(*settings, runs="alone")
    helped = make_config(*settings, "train.num_workers=1", runs="helped")
    for config in (alone, helped):
        train(config)
    assert_same_weights(alone.paths.model, helped.paths.model)


def test_divergence_is_said_in_one_line(make_config: MakeConfig) -> None:
    config = make_config("tracking=none", "train.learning_rate=1000", "train.warmup=0")
    with pytest.raises(UserError, match=r"loss is nan at step \d+.*train\.learning_rate"):
        train(config)


def test_a_dataset_too_long_for_the_model_is_refused(make_config: MakeConfig) -> None:
    settings = ("model.max_position_embeddings=16", "dataset.sequence_length=16")
    with pytest.raises(UserError, match=r"max_position_embeddings=16 is below.*32"):
        train(make_config("tracking=none", *settings))


def test_another_tokenizer_beside_the_dataset_is_refused(
    make_config: MakeConfig, masked: Path, tmp_path: Path
) -> None:

    shutil.copytree(masked / "dataset", tmp_path / "dataset")
    path = tmp_path / "dataset/tokenizer/tokenizer.json"
    state = json.loads(path.read_text())
    state["model"]["merges"].pop()
    path.write_text(json.dumps(state))
    config = make_config("tracking=none", f"paths.dataset={tmp_path / 'dataset'}")
    with pytest.raises(UserError, match=r"tokenizer\.json: is not what `moescope mask` wrote"):
        train(config)


def test_model_folder_loads_where_this_project_is_not_installed(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    config = make_config("tracking=none", "train.max_steps=2")
    train(config)
    script = (
        "import sys, torch; from transformers import AutoModelForMaskedLM as A; "
        "m = A.from_pretrained(sys.argv[1], trust_remote_code=True).eval(); "
        "assert 'transformers_modules' in type(m).__module__; "
        "print(float(m(input_ids=torch.arange(5, 15)[None]).logits.sum()))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script, str(config.paths.model)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "PATH": ""},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    model = AutoModelForMaskedLM.from_pretrained(config.paths.model).eval()
    with torch.no_grad():
        logits = model(input_ids=torch.arange(5, 15)[None]).logits
    assert float(done.stdout) == pytest.approx(float(logits.sum()), rel=1e-3)
