"""The plan's figures: counted against real models, worked out anew the slow way, and printed."""

import json
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from moescope.configs.compose import compose_config
from moescope.model import MoescopeForCausalLM, MoescopeForMaskedLM
from moescope.train.build import planned_architecture
from moescope.train.planning import (
    DEVICES,
    Sizes,
    activation_bytes,
    sizes_of,
    step_flops,
    ways_to_train,
)
from tests.conftest import Command

OLMOE = (
    *("model=olmoe", "router.top_k=8", "router.renormalise=false", "tokenizer.vocab_size=50304"),
    *("dataset.sequence_length=512", "train.batch_size=4"),
)
KINDS = [
    ("experiment=demo",),
    ("model=dense_encoder",),
    ("experiment=demo", "model.num_shared_experts=1"),
    ("model=lamoe", "router=noisy_topk"),
    ("model=olmoe_tiny", "router.top_k=4", "router.renormalise=false"),
]


def real(*words: str) -> tuple[Any, Any]:
    config = compose_config([*words, "model.num_hidden_layers=2", "model.hidden_size=128"])
    architecture = planned_architecture(config, 512)
    kind = MoescopeForCausalLM if architecture.is_causal else MoescopeForMaskedLM
    return config, kind(architecture)


@pytest.mark.parametrize("words", KINDS)
def test_activations_are_near_what_autograd_keeps(words: tuple[str, ...]) -> None:
    config, model = real(*words)
    model.set_experts_implementation("grouped_mm")  # that of a GPU
    kept: dict[int, int] = {}
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        held.append(tensor)  # or its place in memory is used again
        return tensor

    held: list[torch.Tensor] = []
    ids = torch.randint(5, 512, (4, config.dataset.sequence_length))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.model(ids, attention_mask=torch.ones_like(ids))
    forecast = activation_bytes(model.config, ids.numel(), 4, checkpointing=False)
    assert forecast == pytest.approx(sum(kept.values()), rel=0.15)


def test_operations_are_those_that_torch_counts() -> None:
    _, model = real("model=dense_encoder")
    ids = torch.randint(5, 512, (4, 64))
    model.set_attn_implementation("eager")  # the counter knows no fused attention of a CPU
    with FlopCounterMode(display=False) as counter:
        model(ids, attention_mask=torch.ones_like(ids)).logits.sum().backward()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    forecast = step_flops(model.config, parameters, ids.numel(), 64)
    assert forecast == pytest.approx(counter.get_total_flops(), rel=0.05)


def test_parameters_and_optimizer_are_those_of_a_real_model() -> None:
    config, model = real("experiment=demo")
    sizes = sizes_of(config, model.config, half=False)
    assert sizes.parameters == sum(parameter.numel() for parameter in model.parameters())
    optimizer = torch.optim.AdamW(model.parameters())
    ids = torch.randint(5, 512, (1, 8))
    model(ids, attention_mask=torch.ones_like(ids)).logits.sum().backward()
    optimizer.step()
    states = [t for state in optimizer.state.values() for t in state.values() if t.dim()]
    (alone,) = ways_to_train(sizes, DEVICES["h100"], 1, 0.4)
    assert alone.optimizer == sum(state.nbytes for state in states)
    assert alone.gradients == sum(p.grad.nbytes for p in model.parameters() if p.grad is not None)


def sizes_by_hand() -> Sizes:
    return Sizes(
        parameters=1000,
        active=400,
        expert_parameters=800,
        largest_block=500,
        tokens=6,
        activations=70,
        moe_layers=3,
        width=5,
        top_k=2,
        bytes_per_number=2,
        passes=2,
        flops=9e12,
        expert_flops=6e12,
    )


def test_what_is_sent_is_counted_token_by_token() -> None:
    sizes, count = sizes_by_hand(), 4
    ways = {way.name: way for way in ways_to_train(sizes, DEVICES["a100"], count, 0.5)}
    assert list(ways) == ["ddp", "fsdp", "experts", "experts_fsdp"]
    there_and_back = 0.0
    for _ in range(sizes.passes):
        for _ in range(sizes.moe_layers):
            for _ in range(sizes.tokens):
                for _ in range(sizes.top_k):  # a copy stays with chance 1/n
                    there_and_back += 4 * (count - 1) / count * sizes.width * 2
    gathered = 3 * 4 * 200 * (count - 1) / count * sizes.passes  # what is no expert
    assert ways["experts_fsdp"].sent == pytest.approx(there_and_back + gathered)
    assert ways["ddp"].sent == pytest.approx(2 * 4 * 1000 * 3 / 4)
    assert ways["ddp"].memory == 16 * 1000 + 70
    assert ways["fsdp"].memory == 16 * 250 + 500 * 2 + 70
    assert ways["experts"].memory == 16 * (200 + 200) + 70
    assert ways["experts"].tokens == 12
    assert ways["ddp"].tokens == 48
    rate = DEVICES["a100"].flops * 0.5
    assert ways["ddp"].compute_s == pytest.approx(9e12 / rate)
    assert ways["experts"].compute_s == pytest.approx((3e12 + 6e12 / 4) / rate)


def test_a_dense_model_has_no_experts_to_divide() -> None:
    config, model = real("model=dense_encoder")
    sizes = sizes_of(config, model.config, half=True)
    assert [w.name for w in ways_to_train(sizes, DEVICES["l4"], 2, 0.4)] == ["ddp", "fsdp"]


def test_checkpointing_trades_memory_for_operations() -> None:
    plain, again = (
        sizes_of(config, planned_architecture(config, 512), half=True)
        for config in (
            compose_config([f"train.gradient_checkpointing={value}"]) for value in (False, True)
        )
    )
    assert again.activations < plain.activations / 2
    assert again.flops == pytest.approx(plain.flops * 4 / 3)


def planned(command: Command, *words: str) -> dict[str, Any]:
    done = command("plan", *words, "--json")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert isinstance(figures, dict)
    return figures


def test_olmoe_as_the_paper_has_it(command: Command) -> None:
    alone = planned(command, *OLMOE)
    assert alone["sizes"]["parameters"] == 6_919_161_856
    assert alone["sizes"]["active"] == pytest.approx(1.28e9, rel=0.01)
    (way,) = alone["ways"]
    assert (way["weights"] + way["gradients"] + way["optimizer"]) / 1e9 == pytest.approx(
        110.7, 0.01
    )
    assert not way["fits"]
    assert "nothing fits" in alone["advice"]
    eight = planned(command, *OLMOE, "plan.devices=8")
    assert [way["fits"] for way in eight["ways"]] == [False, True, True, True]
    assert "experts_fsdp" in eight["advice"]


def test_the_table_is_for_people(command: Command) -> None:
    shown = command("plan", *OLMOE, "plan.devices=8", "train.max_steps=1000")
    assert shown.returncode == 0, shown.stderr
    for word in ("forecast", "experts_fsdp", "tokens per s", "1,000 steps", "6,919,161,856"):
        assert word in shown.stderr
    for words in (["plan.device=tpu"], ["plan.utilisation=2"], ["--frce"], ["router.top_k=99"]):
        wrong = command("plan", *words)
        assert wrong.returncode == 2
        assert len(wrong.stderr.splitlines()) == 1
