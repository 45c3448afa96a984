"""Loss scaling, schedule and evaluation of the Trainer."""

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import AutoTokenizer, PreTrainedTokenizerFast, set_seed

from moescope.configs.manifest import Manifest, read_manifest
from moescope.configs.schema import Config
from moescope.data_processors.collate import collator_of
from moescope.data_processors.tokenizers import tokenizer_facts
from moescope.train.arguments import learning_rate_factor, training_arguments
from moescope.train.build import build_model
from moescope.train.train import open_splits
from moescope.train.trainer import MoescopeTrainer, Topics
from moescope.train.unigram import unigram_entropy

from .conftest import MakeConfig


def dataset_manifest(config: Config) -> Manifest:
    dataset = read_manifest(config.paths.dataset)
    assert dataset is not None
    return dataset


def make_trainer(config: Config, coefficients: dict[str, float]) -> MoescopeTrainer:
    dataset = dataset_manifest(config)
    tokenizer: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(
        config.paths.dataset / "tokenizer"
    )  # type: ignore[assignment]
    splits = open_splits(config.paths.dataset)
    set_seed(config.seed)
    return MoescopeTrainer(
        settings=config.train,
        coefficients=coefficients,
        topics=Topics(dataset.counts["topics"], splits.validation.document_topics),
        model=build_model(config, dataset, tokenizer),
        args=training_arguments(config),
        data_collator=collator_of(
            dataset.config,
            tokenizer_facts(tokenizer),
            config.seed,
            is_causal=config.model.is_causal,
        ),
        train_dataset=splits.train,
        eval_dataset=splits.validation,
    )


def step_gradients(
    trainer: MoescopeTrainer, rows: range, micro_batch: int
) -> dict[str, torch.Tensor]:
    """Gradients of one optimizer step over the same rows, cut into micro-batches."""
    batches = [
        trainer.data_collator(trainer.train_dataset.__getitems__(list(rows[i : i + micro_batch])))
        for i in range(0, len(rows), micro_batch)
    ]
    trainer.model.zero_grad()
    samples, num_labels = trainer.get_batch_samples(
        iter(batches), len(batches), torch.device("cpu")
    )
    trainer.current_gradient_accumulation_steps = len(samples)
    for batch in samples:
        trainer.training_step(trainer.model, batch, num_labels)
    return {
        name: parameter.grad.clone()
        for name, parameter in trainer.model.named_parameters()
        if parameter.grad is not None
    }


def relative_difference(first: torch.Tensor, second: torch.Tensor) -> float:
    return float((first - second).norm() / first.norm())


@pytest.mark.parametrize("preset", ["moe_encoder", "gptime"])
@pytest.mark.parametrize(
    ("coefficients", "tolerance"),
    [({}, 1e-4), ({"z": 0.5}, 1e-4), ({"switch": 0.01, "z": 0.001}, 0.05)],
    ids=["language model alone", "z-loss, a mean over tokens", "default losses"],
)
def test_gradient_accumulation_leaves_the_router_gradient_alone(
    make_config: MakeConfig, preset: str, coefficients: dict[str, float], tolerance: float
) -> None:
    config = make_config(f"model={preset}", "model.dropout=0", "tracking=none")
    trainer = make_trainer(config, coefficients)
    whole = step_gradients(trainer, range(16), 16)
    pieces = step_gradients(trainer, range(16), 4)
    gates = [name for name in whole if ".gate." in name]
    assert len(gates) == 2
    for name in gates:
        assert relative_difference(whole[name], pieces[name]) < tolerance
    if tolerance < 1e-3:  # all but biases of keys: softmax cancels them, their gradient is 0
        named = [name for name in whole if not name.endswith("k_proj.bias")]
        assert max(relative_difference(whole[n], pieces[n]) for n in named) < tolerance


def test_balance_losses_reach_the_router(make_config: MakeConfig) -> None:
    config = make_config("model.dropout=0", "tracking=none")
    plain = step_gradients(make_trainer(config, {}), range(8), 8)
    balanced = step_gradients(make_trainer(config, {"switch": 10.0}), range(8), 8)
    gate = next(name for name in plain if ".gate." in name)
    assert relative_difference(plain[gate], balanced[gate]) > 0.1
    head = "model.norm.weight"  # after the last router: balance cannot reach it
    assert relative_difference(plain[head], balanced[head]) < 1e-5


@pytest.mark.parametrize("preset", ["moe_encoder", "lamoe"])
def test_score_equals_one_example_at_a_time(make_config: MakeConfig, preset: str) -> None:
    config = make_config(f"model={preset}", "model.num_attention_heads=4", "tracking=none")
    trainer = make_trainer(config, {"switch": 0.01})
    figures = trainer.score(trainer.eval_dataset)
    losses: list[float] = []
    topics: list[int] = []
    trainer.model.eval()
    for index in range(len(trainer.eval_dataset)):
        batch = trainer.data_collator([trainer.eval_dataset[index]])
        with torch.no_grad():
            output = trainer.model(
                input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
            )
        place = batch["labels"][0] != -100
        scored = place.roll(-1) if config.model.is_causal else place  # no label comes first
        losses += F.cross_entropy(
            output.logits[0][scored], batch["labels"][0][place], reduction="none"
        ).tolist()
        document = trainer.eval_dataset.example_documents[index]
        topics += [int(trainer.eval_dataset.document_topics[document])] * int(place.sum())
    assert figures["loss"] == pytest.approx(np.mean(losses), rel=1e-4)
    assert sum(topic["tokens"] for topic in figures["topics"].values()) == len(losses)
    for topic_id, name in enumerate(trainer.topics.names):
        own = [loss for loss, topic in zip(losses, topics, strict=True) if topic == topic_id]
        assert figures["topics"][name]["loss"] == pytest.approx(np.mean(own), rel=1e-4)
    assert [len(layer["load"]) for layer in figures["layers"]] == [4, 4]
    assert figures["balance"]["switch"] >= 0.99


def test_unigram_entropy_equals_a_loop(make_config: MakeConfig, masked: Path) -> None:
    folder = masked / "dataset"
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    special = set(tokenizer.all_special_ids)
    splits = open_splits(folder)
    counts = {token: 1 for token in range(len(tokenizer)) if token not in special}
    for row in map(splits.train.__getitem__, range(len(splits.train))):
        for token in row["input_ids"].tolist():
            if token not in special:
                counts[token] += 1
    total = sum(counts.values())
    surprisals = [
        -math.log(counts[token] / total)
        for row in map(splits.validation.__getitem__, range(len(splits.validation)))
        for token, kind in zip(row["input_ids"].tolist(), row["mask_kind"].tolist(), strict=True)
        if kind in (1, 2, 3)
    ]
    config = make_config()
    facts, dataset = tokenizer_facts(tokenizer), dataset_manifest(config)
    collate = collator_of(dataset.config, facts, config.seed, is_causal=False)
    found = unigram_entropy(*splits, collate, len(tokenizer), tokenizer.all_special_ids)
    assert found == pytest.approx(np.mean(surprisals))


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_schedule_warms_up_then_decays_to_its_floor(make_config: MakeConfig, schedule: str) -> None:
    settings = make_config(
        f"train.schedule={schedule}", "train.warmup=0.1", "train.floor=0.2"
    ).train
    factors = [learning_rate_factor(step, 100, settings) for step in range(101)]
    np.testing.assert_allclose(factors[:10], np.arange(1, 11) / 10)
    assert max(factors) == 1
    assert all(later <= earlier for earlier, later in pairwise(factors[10:]))
    assert factors[100] == pytest.approx(1.0 if schedule == "constant" else 0.2)


def test_decay_spares_norms_and_nothing_is_left_out(make_config: MakeConfig) -> None:
    trainer = make_trainer(make_config("tracking=none"), {})
    decayed, spared = trainer.create_optimizer().param_groups
    assert {id(p) for p in (*decayed["params"], *spared["params"])} == {
        id(p) for p in trainer.model.parameters()
    }
    norms = {id(p) for name, p in trainer.model.named_parameters() if "norm" in name}
    assert {id(p) for p in spared["params"]} == norms
