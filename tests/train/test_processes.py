"""Two processes train what one does; one start of two processes serves all tests of this file."""

import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.multiprocessing.spawn import spawn

from moescope.configs.errors import Terminated
from moescope.configs.manifest import read_manifest
from moescope.configs.schema import Config
from moescope.configs.stage import StageRun
from moescope.data_processors.batching import BatchShare, BlankCollator
from moescope.train.tasks import stage_of, task_of
from moescope.train.train import train
from tests.train.conftest import MakeConfig
from tests.train.test_trainer import make_trainer

# more than an epoch, whose last batch is not whole; and each evaluation has a batch for one process
SIZE = 32
CALM = ("model.dropout=0", "train.max_steps=14", "train.eval_examples=1", "tracking=none")
COUNTED = ("loss", "accuracy", "grad_norm", "learning_rate")


def stage_in(config: Config) -> StageRun:
    """What the stage would give its work."""
    run = config.paths.run
    (run / "model").mkdir(parents=True)
    dataset = read_manifest(config.paths.dataset)
    assert dataset is not None
    return StageRun(config, run / "model", {"mask": dataset}, {"metrics": run / "metrics.jsonl"})


def two_processes(rank: int, port: int, folder: str, tasks: list[str]) -> None:
    """Does all tasks in a row; process 0 leaves the counts."""
    torch.set_num_threads(1)
    where = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    os.environ |= {name: str(value) for name, value in where.items()}
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    for task in tasks:
        if counts := train(stage_of(task)):
            Path(folder, f"{stage_of(task).config.name}.json").write_text(json.dumps(counts))
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def runs(
    module_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, Mapping[str, Any]]]:
    """Name → run folder and counts, of one process and of two."""
    alone = module_config(*CALM, "name=alone", f"train.batch_size={SIZE}")
    found = {"alone": (alone.paths.run, train(stage_in(alone)))}
    folder = tmp_path_factory.mktemp("counts")
    two = (*CALM, f"train.batch_size={SIZE // 2}", "train.processes=2")
    configs = [module_config(*two, f"name={kind}", f"train.parallel={kind}") for kind in KINDS]
    tasks = [task_of(stage_in(config)) for config in configs]
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    spawn(two_processes, args=(port, str(folder), tasks), nprocs=2)
    for config in configs:
        counts = json.loads((folder / f"{config.name}.json").read_text())
        found[config.name] = (config.paths.run, counts)
    return found


KINDS = ("ddp", "fsdp")


def records(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_have_the_curve_of_one(kind: str, runs: dict[str, Any]) -> None:
    (one, counts_of_one), (two, counts) = runs["alone"], runs[kind]
    assert counts["validation_loss"] == pytest.approx(counts_of_one["validation_loss"], abs=1e-5)
    assert counts["train_tokens"] == counts_of_one["train_tokens"]
    assert len(records(one)) == len(records(two)) > 6
    for a, b in zip(records(one), records(two), strict=True):
        assert [a[key] for key in ("split", "step", "epoch", "tokens")] == [
            b[key] for key in ("split", "step", "epoch", "tokens")
        ]
        for name in COUNTED:
            assert a.get(name, 0) == pytest.approx(b.get(name, 0), abs=1e-5), (name, a["step"])
        if a["split"] == "train":
            assert a["balance"] == pytest.approx(b["balance"], abs=1e-5)
        for layer, other in zip(a["layers"], b["layers"], strict=True):
            assert layer["load"] == pytest.approx(other["load"], abs=1e-9)
            assert layer["max_violation"] == pytest.approx(other["max_violation"], abs=1e-6)


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
