"""Numbers in the precision of training: bf16 on a CPU, and after a resume."""

import shutil

import pytest
import torch

from moescope.train.trainer import MoescopeTrainer

from .conftest import MakeConfig, train
from .test_trainer import make_trainer


def test_labels_that_tie_under_bf16_are_no_hits_in_either_accuracy(
    make_config: MakeConfig,
) -> None:
    """With a head of zeros every token ties: both accuracies are a guess among the vocabulary."""
    trainer = make_trainer(make_config("tracking=none", "train.precision=bf16"), {})
    head = trainer.model.get_output_embeddings()
    assert isinstance(head, torch.nn.Linear)
    with torch.no_grad():
        head.weight.zero_()
        if head.bias is not None:
            head.bias.zero_()
    guess = pytest.approx(1 / head.out_features)
    trainer.accelerator.prepare_model(trainer.model)  # as training does: the autocast comes with it
    assert trainer.score(trainer.eval_dataset)["accuracy"] == guess
    batches = iter(trainer.get_train_dataloader())
    (batch,), labels = trainer.get_batch_samples(batches, 1, torch.device("cpu"))
    trainer.model.train()
    trainer.training_step(trainer.model, batch, labels)
    sums = trainer._sums.to_host(None)
    assert sums["correct"] / sums["labels"] == guess


def test_a_resumed_run_scores_in_the_precision_it_trained_in(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ("tracking=none", "train.max_steps=4", "train.eval_examples=null")
    config = make_config(*settings, "train.precision=bf16", runs="trained")
    counts = train(config).counts
    narrow: list[bool] = []
    score = MoescopeTrainer._score_batch

    def watched(self: MoescopeTrainer, inputs: dict[str, torch.Tensor]) -> object:
        head = self.model.get_output_embeddings()
        assert head is not None
        hook = head.register_forward_hook(
            lambda module, given, result: narrow.append(result.dtype == torch.bfloat16)
        )
        try:
            return score(self, inputs)
        finally:
            hook.remove()

    monkeypatch.setattr(MoescopeTrainer, "_score_batch", watched)
    monkeypatch.setattr(MoescopeTrainer, "training_step", None)  # it only finishes
    for precision in ("bf16", "auto"):  # auto is fp32 here, but these checkpoints were bf16
        again = make_config(*settings, f"train.precision={precision}", runs=precision)
        shutil.copytree(config.paths.checkpoints, again.paths.checkpoints)
        assert train(again).counts == counts
    assert narrow
    assert all(narrow)
