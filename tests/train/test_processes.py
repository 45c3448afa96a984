"""Two processes train what one does; one start of two processes serves all tests of this file."""

import json
import os
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.multiprocessing.spawn import spawn
from transformers import AutoModelForMaskedLM

from moescope.configs.errors import Terminated
from moescope.configs.manifest import read_manifest
from moescope.configs.schema import Config
from moescope.configs.stage import StageRun
from moescope.data_processors.batching import BatchShare, BlankCollator
from moescope.train.tasks import stage_of, task_of
from moescope.train.train import train
from moescope.train.weights import hash_weights
from tests.train.conftest import MakeConfig
from tests.train.test_trainer import make_trainer

# more than an epoch, whose last batch is not whole; and each evaluation has a batch for one process
KINDS = ("ddp", "fsdp", "experts", "experts_fsdp")
SIZE = 32
CALM = ("model.dropout=0", "train.max_steps=14", "train.eval_examples=1", "tracking=none")
Run = tuple[Path, Mapping[str, Any]]
COUNTED = ("loss", "accuracy", "grad_norm", "learning_rate")


def stage_in(config: Config) -> StageRun:
    """What the stage would give its work."""
    run = config.paths.run
    (run / "model").mkdir(parents=True)
    dataset = read_manifest(config.paths.dataset)
    assert dataset is not None
    return StageRun(config, run / "model", {"mask": dataset}, {"metrics": run / "metrics.jsonl"})


def two_processes(rank: int, port: int, folder: str, tasks: Mapping[str, str]) -> None:
    """Does all tasks in a row; process 0 leaves the counts."""
    torch.set_num_threads(1)
    where = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    os.environ |= {name: str(value) for name, value in where.items()}
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    for name, task in tasks.items():
        if counts := train(stage_of(task)):
            Path(folder, f"{name}.json").write_text(json.dumps(counts))
    torch.distributed.destroy_process_group()


def interrupted(config: Config, of: Path) -> StageRun:
    """A run with the checkpoints of another that was killed before it wrote its last."""
    shutil.copytree(of / "checkpoints", config.paths.checkpoints)
    shutil.rmtree(config.paths.checkpoints / "checkpoint-14")
    return stage_in(config)


def start_two(folder: Path, stages: Mapping[str, StageRun]) -> dict[str, Run]:
    """Trains in two processes; name → run folder and counts."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    tasks = {name: task_of(stage) for name, stage in stages.items()}
    spawn(two_processes, args=(port, str(folder), tasks), nprocs=2)
    counts = {name: json.loads((folder / f"{name}.json").read_text()) for name in tasks}
    return {name: (stage.config.paths.run, counts[name]) for name, stage in stages.items()}


@pytest.fixture(scope="module")
def runs(module_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Name → run folder and counts: of one process, of two, and of two that go on from one."""
    alone = module_config(*CALM, "name=alone", f"train.batch_size={SIZE}")
    found = {"alone": (alone.paths.run, train(stage_in(alone)))}
    stages = {}
    for kind in KINDS:
        own = SIZE if kind == "experts" else SIZE // 2  # there all see the same examples
        two = (*CALM, f"train.batch_size={own}", "train.processes=2", f"train.parallel={kind}")
        stages[kind] = stage_in(module_config(*two, f"name={kind}"))
        config = module_config(*two, f"name=one_to_{kind}")
        stages[f"one_to_{kind}"] = interrupted(config, alone.paths.run)
    return found | start_two(tmp_path_factory.mktemp("counts"), stages)


def records(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def assert_same(one: Run, other: Run) -> None:
    """Compares every figure that both logged, and the models that they left."""
    assert other[1]["validation_loss"] == pytest.approx(one[1]["validation_loss"], abs=1e-5)
    for count in ("train_tokens", "parameters", "active_parameters", "steps"):
        assert one[1][count] == other[1][count]
    assert len(records(one[0])) == len(records(other[0])) > 6
    for a, b in zip(records(one[0]), records(other[0]), strict=True):
        for name in ("split", "step", "epoch", "tokens"):
            assert a[name] == b[name]
        for name in COUNTED:
            assert a.get(name, 0) == pytest.approx(b.get(name, 0), abs=1e-5), (name, a["step"])
        if a["split"] == "train":
            assert a["balance"] == pytest.approx(b["balance"], abs=1e-5)
        for layer, again in zip(a["layers"], b["layers"], strict=True):
            assert layer["load"] == pytest.approx(again["load"], abs=1e-9)
            assert layer["max_violation"] == pytest.approx(again["max_violation"], abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_have_the_curve_of_one(kind: str, runs: dict[str, Run]) -> None:
    assert_same(runs["alone"], runs[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_the_model_that_two_processes_publish_is_whole(kind: str, runs: dict[str, Run]) -> None:
    folder, counts = runs[kind]
    model = AutoModelForMaskedLM.from_pretrained(folder / "model")
    assert hash_weights(model.state_dict()) == counts["weights_hash"]
    whole = AutoModelForMaskedLM.from_pretrained(runs["alone"][0] / "model").state_dict()
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, whole[name], rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_go_on_from_one(kind: str, runs: dict[str, Run]) -> None:
    assert_same(runs["alone"], runs[f"one_to_{kind}"])


@pytest.mark.parametrize("kind", KINDS)
def test_one_process_goes_on_from_two(
    kind: str, runs: dict[str, Run], make_config: MakeConfig
) -> None:
    config = make_config(*CALM, f"name={kind}_to_one", f"train.batch_size={SIZE}")
    counts = train(interrupted(config, runs[kind][0]))
    assert_same(runs["alone"], (config.paths.run, counts))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_shares_add_up_to_what_one_process_sees(count: int) -> None:
    order = np.random.default_rng(0).permutation(25).tolist()
    shares = [list(BatchShare(order, 4, rank=rank, count=count)) for rank in range(count)]
    assert {len(share) for share in shares} == {len(BatchShare(order, 4, count=count))}
    for step, parts in enumerate(zip(*shares, strict=True)):
        seen = sorted(example for part in parts for example in part)
        assert seen == sorted(order[step * 4 * count : (step + 1) * 4 * count])
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_batch_of_nothing_changes_nothing(make_config: MakeConfig) -> None:
    trainer = make_trainer(make_config("model.dropout=0"), {"switch": 0.01, "z": 0.001})
    dataset = trainer.train_dataset
    collate = BlankCollator(trainer.data_collator, dataset)
    batches = [collate(dataset.__getitems__(list(range(8)))), collate([])]
    gradients = []
    for taken in (batches[:1], batches):
        samples, num_labels = trainer.get_batch_samples(
            iter(taken), len(taken), torch.device("cpu")
        )
        trainer.model.zero_grad()
        for sample in samples:
            trainer.compute_loss(trainer.model, sample, num_items_in_batch=num_labels).backward()
        gradients.append([parameter.grad.clone() for parameter in trainer.model.parameters()])
    for alone, with_nothing in zip(*gradients, strict=True):
        torch.testing.assert_close(with_nothing, alone, rtol=0, atol=0)


def test_sigterm_ends_with_a_checkpoint_and_training_goes_on_from_it(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config("train.max_steps=6", "train.eval_every=100", "tracking=none")
    stage = stage_in(config)
    step = "moescope.train.trainer.MoescopeTrainer.training_step"
    import moescope.train.trainer as module

    real, calls = module.MoescopeTrainer.training_step, []

    def preempted(self: Any, *arguments: Any) -> Any:
        calls.append(0)
        if len(calls) == 2:
            os.kill(os.getpid(), 15)
        return real(self, *arguments)

    monkeypatch.setattr(step, preempted)
    with pytest.raises(Terminated):
        train(stage)
    (saved,) = config.paths.checkpoints.glob("checkpoint-*")
    assert saved.name == "checkpoint-3"  # the step after the one in which it came
    assert not (stage.output_dir / "model.safetensors").exists()
    counts = train(stage)
    assert len(calls) == counts["steps"] == 6
