"""Experts by period: later ones are never used by earlier texts and get no gradient from them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from moescope.configs.compose import compose_config
from moescope.configs.errors import UserError
from moescope.configs.manifest import read_manifest
from moescope.configs.schema import Config
from moescope.configs.stage import execute
from moescope.configs.stages import CORPUS, MASK
from moescope.data_processors.metadata_values import add_metadata_ids
from moescope.model import BALANCE_LOSSES, MoescopeForCausalLM
from moescope.train.trainer import MoescopeTrainer

from .conftest import train
from .test_trainer import make_trainer

FIRST_YEARS = [1790, 1850, 1910, 1970]
DATED = [
    *("source=files", "source.date_column=year", "corpus.clean.min_chars=5"),
    *("corpus.clean.near_duplicates=false", "corpus.splits.probe_documents=10"),
    *("model=gptime", "masking=none", "dataset.packing=blocks", "dataset.sequence_length=64"),
    *("router=masked", "router.values=[1790,1850,1910,1970]", "tokenizer=char"),
    *("model.hidden_size=32", "model.num_attention_heads=2", "model.moe_intermediate_size=16"),
    *("model.num_hidden_layers=2", "model.num_experts=8", "train.max_steps=4"),
    *("train.log_every=2", "train.eval_every=2", "train.batch_size=4", "tracking=none"),
]


def write_texts(path: Path) -> None:
    """240 short texts of two topics, one for each year from 1790."""
    words = np.random.default_rng(0).integers(0, 90, (240, 8))
    rows = [
        {
            "text": " ".join(f"word{word}" for word in own),
            "topic": "ab"[number % 2],
            "year": 1790 + number,
        }
        for number, own in enumerate(words.tolist())
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def dated(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A dataset of dated documents in blocks that hold several."""
    folder = tmp_path_factory.mktemp("dated")
    write_texts(folder / "texts.jsonl")
    config = compose_config(
        [*DATED, f"source.path={folder / 'texts.jsonl'}", f"paths.runs={folder}"]
    )
    for stage in (CORPUS, MASK):
        execute(stage, config, "test")
    return config


def make_dated_trainer(config: Config) -> MoescopeTrainer:
    trainer = make_trainer(
        config, {name: 1.0 for name in BALANCE_LOSSES if name != "orthogonality"}
    )
    for split in (trainer.train_dataset, trainer.eval_dataset):
        add_metadata_ids(split, trainer.model.config)
    return trainer


def every_period(trainer: MoescopeTrainer) -> dict[str, Tensor]:
    """A batch of blocks with texts of all periods."""
    rows = np.linspace(0, len(trainer.train_dataset) - 1, 16).astype(int).tolist()
    batch = trainer.data_collator(trainer.train_dataset.__getitems__(rows))
    assert set(batch["metadata_ids"].unique().tolist()) >= {0, 1, 2, 3}
    return batch


def owners(num_experts: int, values: int) -> Tensor:
    return torch.arange(num_experts) * values // num_experts


@pytest.mark.parametrize("latest", [0, 1, 2])
def test_later_experts_get_no_gradient_from_earlier_texts(dated: Config, latest: int) -> None:
    trainer = make_dated_trainer(dated)
    batch = every_period(trainer)
    batch["metadata_ids"] = batch["metadata_ids"].clamp(max=latest)
    _, num_labels = trainer.get_batch_samples(iter([batch]), 1, torch.device("cpu"))
    trainer.current_gradient_accumulation_steps = 1
    trainer.training_step(trainer.model, batch, num_labels)
    later = owners(8, 4) > latest
    assert later.any()
    for layer in trainer.model.model.layers:
        for weights in (layer.mlp.gate.weight, *layer.mlp.experts.parameters()):
            gradient = weights.grad.flatten(1).abs().amax(1)  # by expert
            assert (gradient[later] == 0).all()
            assert (gradient[~later] > 0).all()


def test_losses_of_earlier_texts_do_not_know_later_experts(dated: Config) -> None:
    trainer = make_dated_trainer(dated)
    batch = every_period(trainer)
    documents_per_block = [len(set(row.tolist()) - {-1}) for row in batch["document_ids"]]
    assert max(documents_per_block) > 1

    @torch.no_grad()
    def outputs() -> tuple[Tensor, list[Tensor]]:
        model = trainer.model.eval()
        out = model(**trainer._model_arguments(batch))
        return out.logits, [routing.expert_ids for routing in out.routing]

    before, choices = outputs()
    condition = batch["metadata_ids"]
    for ids in choices:
        used = torch.cat([owners(8, 4), torch.tensor([-1])])[ids]  # the last: no expert
        real = condition.flatten() >= 0
        assert (used[real] <= condition.flatten()[real, None]).all()
    with torch.no_grad():
        for layer in trainer.model.model.layers:
            layer.mlp.experts.down_proj[owners(8, 4) == 3] += 1.0
    after, _ = outputs()
    earlier, last = (condition >= 0) & (condition < 3), condition == 3
    assert torch.equal(before[earlier], after[earlier])
    assert not torch.equal(before[last], after[last])


def test_the_checkpoint_knows_its_periods(dated: Config) -> None:
    train(dated)
    manifest = read_manifest(dated.paths.model)
    assert manifest is not None
    assert manifest.counts["validation_loss_per_byte"] == manifest.counts["validation_loss"]
    router = MoescopeForCausalLM.from_pretrained(dated.paths.model).config.router
    assert router["values"] == FIRST_YEARS
    assert router["last"] == 2029
    assert router["column"] == "year"


def test_documents_that_attend_to_each_other_are_refused(dated: Config, tmp_path: Path) -> None:
    overrides = [*DATED, "source.path=x", f"paths.runs={tmp_path}"]
    overrides.append(f"paths.corpus={dated.paths.corpus}")
    config = compose_config([*overrides, "dataset.attend_across=true"])
    execute(MASK, config, "test")
    with pytest.raises(UserError, match="attend_across=false"):
        train(config)


def test_an_encoder_needs_masks(dated: Config, tmp_path: Path) -> None:
    overrides = [*DATED, "source.path=x", f"paths.runs={tmp_path}", "model.is_causal=false"]
    config = compose_config([*overrides, f"paths.dataset={dated.paths.dataset}"])
    with pytest.raises(UserError, match="masking=token"):
        train(config)
