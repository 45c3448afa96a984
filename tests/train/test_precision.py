"""Numbers in the precision of training: bf16 on a CPU, and after a resume."""

import shutil

import pytest
import torch

from moescope.train.trainer import MoescopeTrainer

from .conftest import MakeConfig, train


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
