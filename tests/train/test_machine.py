"""Settings that say where and how to compute: what they do, and that the impossible is refused."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from moescope.command_line import main
from moescope.configs.compose import compose_config
from moescope.configs.errors import UserError
from moescope.train import arguments as module
from moescope.train.arguments import check_machine, device_of, precision_of, training_arguments
from moescope.train.metrics import MetricSums

from .conftest import MakeConfig
from .test_trainer import make_trainer


@pytest.fixture
def on_cuda(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """As on a machine with a card; returns what TrainingArguments was given."""
    given: dict[str, Any] = {}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    monkeypatch.setattr(module, "is_torch_tf32_available", lambda: True)

    def recorded(**named: Any) -> SimpleNamespace:
        given.update(named)
        return SimpleNamespace(n_gpu=2)

    monkeypatch.setattr(module, "TrainingArguments", recorded)
    return given


def test_device_and_what_follows_from_it(on_cuda: dict[str, Any]) -> None:
    for device, found, precision in (("auto", "cuda", "bf16"), ("cpu", "cpu", "fp32")):
        config = compose_config([f"train.device={device}"])
        assert device_of(config.train) == found
        assert precision_of(config.train) == precision
        assert training_arguments(config)._n_gpu == 1  # or the Trainer takes DataParallel
        assert on_cuda["use_cpu"] == (found == "cpu")
        assert on_cuda["bf16"] == (precision == "bf16")
        assert on_cuda["dataloader_pin_memory"] == (found == "cuda")


@pytest.mark.parametrize("tf32", [True, False])
def test_tf32_is_set_on_a_card_and_left_alone_elsewhere(
    on_cuda: dict[str, Any], tf32: bool
) -> None:
    for device, expected in (("cuda", tf32), ("cpu", None)):
        training_arguments(compose_config([f"train.tf32={tf32}", f"train.device={device}"]))
        assert on_cuda["tf32"] is expected


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_refused(
    device: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if device_of(compose_config([]).train) != "cpu":
        pytest.skip("needs a machine without an accelerator")
    assert main(["pipeline", f"paths.runs={tmp_path}", f"train.device={device}"]) == 2
    assert f"train.device={device}" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["train.attention=flex_attention", "train.device=cpu"], "CUDA only, not on cpu"),
        (["train.attention=flash_attention_2", "train.precision=fp32"], "train.precision=bf16"),
    ],
)
def test_an_attention_that_cannot_train_is_refused(
    settings: list[str], words: str, on_cuda: dict[str, Any]
) -> None:
    with pytest.raises(UserError, match=words):
        check_machine(compose_config(settings).train)


@pytest.mark.parametrize("kind", ["eager", "sdpa"])
def test_the_model_takes_the_attention(kind: str, make_config: MakeConfig) -> None:
    trainer = make_trainer(make_config(f"train.attention={kind}"), {})
    assert trainer.model.config._attn_implementation == kind


def test_with_gradient_checkpointing_blocks_run_twice_and_gradients_stay(
    make_config: MakeConfig,
) -> None:
    results = []
    for on in (False, True):
        config = make_config(f"train.gradient_checkpointing={on}", "model.dropout=0")
        trainer = make_trainer(config, {"switch": 0.01})
        assert trainer.args.activation_checkpointing is on
        if on:
            trainer.model.gradient_checkpointing_enable(
                trainer.args.activation_checkpointing_kwargs
            )
        runs = Mock()
        trainer.model.model.layers[0].self_attn.q_proj.register_forward_pre_hook(runs)
        runs.return_value = None
        batch = trainer.data_collator(trainer.train_dataset.__getitems__(list(range(8))))
        samples, num_labels = trainer.get_batch_samples(iter([batch]), 1, torch.device("cpu"))
        trainer.current_gradient_accumulation_steps = 1
        trainer.training_step(trainer.model, samples[0], num_labels)
        results.append((runs.call_count, [p.grad.clone() for p in trainer.model.parameters()]))
    assert [count for count, _ in results] == [1, 2]
    for got, expected in zip(results[1][1], results[0][1], strict=True):
        torch.testing.assert_close(got, expected)


def test_evaluation_has_the_workers_of_training(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[int] = []
    loader = torch.utils.data.DataLoader

    def recorded(*arguments: Any, **named: Any) -> Any:
        given.append(named["num_workers"])
        return loader(*arguments, **named)

    monkeypatch.setattr("moescope.train.trainer.DataLoader", recorded)
    figures = []
    for workers in (0, 2):
        trainer = make_trainer(make_config(f"train.num_workers={workers}"), {"switch": 0.01})
        figures.append(trainer.score(trainer.eval_dataset))
    assert given == [0, 2]
    assert figures[0] == figures[1]


def test_off_the_cpu_a_training_step_reads_nothing_on_the_host(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("modeling_moescope", "loss"):  # meta tensors have no autocast
        monkeypatch.setattr(f"moescope.model.{name}.autocast_dtype", lambda _: torch.bfloat16)
    trainer = make_trainer(make_config(), {"switch": 0.01, "z": 0.001})
    batch = trainer.data_collator(trainer.train_dataset.__getitems__(list(range(8))))
    trainer.model.to("meta").train()
    # batches are counted on the host, and go to the device after that
    samples, num_labels = trainer.get_batch_samples(iter([batch] * 2), 2, torch.device("meta"))
    samples = [{name: tensor.to("meta") for name, tensor in batch.items()} for batch in samples]
    for sample in samples:
        trainer.compute_loss(trainer.model, sample, num_items_in_batch=num_labels).backward()
        trainer.accelerator.clip_grad_norm_(trainer.model.parameters(), 1.0)
    trainer._topic_of_document = trainer._topic_of_document.to("meta")
    sums = MetricSums()
    with torch.no_grad():
        sums.add(trainer._score_batch(samples[0]))
    with pytest.raises(NotImplementedError, match="no data"):  # only this reads
        sums.to_host(None)
