"""Metric sums against slow loops, and the values they must take at the extremes."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from moescope.model import Routing
from moescope.train.metrics import (
    MetricSums,
    correct_sum,
    language_sums,
    routing_sums,
    summarise_language,
    summarise_layers,
    summarise_topics,
)


def make_routing(seed: int, N: int, E: int, k: int, padding: torch.Tensor) -> Routing:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(N, E, generator=generator)
    probabilities = logits.softmax(-1)
    weights, ids = probabilities.topk(k, dim=-1)
    return Routing(logits, probabilities, ids.masked_fill(padding[:, None], E), weights)


def test_routing_sums_equal_a_loop_over_real_tokens() -> None:
    mask = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]])
    padding = mask.flatten() == 0
    routings = [make_routing(seed, 8, 5, 2, padding) for seed in (0, 1)]
    full = routings[1].expert_ids == 0  # an expert without room
    routings[1] = routings[1]._replace(dropped=full)
    sums = MetricSums()
    sums.add(routing_sums(routings, mask))
    host = sums.to_host(None)
    for layer, routing in enumerate(routings):
        choices, entropy = np.zeros(5), 0.0
        for row in range(8):
            if padding[row]:
                continue
            for expert in routing.expert_ids[row].tolist():
                choices[expert] += 1
            p = routing.probabilities[row].double().numpy()
            entropy -= float((p * np.log(p)).sum())
        np.testing.assert_array_equal(host["choices"][layer], choices)
        assert host["entropy"][layer] == pytest.approx(entropy, rel=1e-5)
    assert host["choices"].sum() == 2 * 2 * int(mask.sum())
    assert host["dropped"].tolist() == [0, host["choices"][1, 0]]
    _, layer = summarise_layers(host, [0, 1])
    assert layer["drop_rate"] == pytest.approx(layer["load"][0]) != 0


@pytest.mark.parametrize(
    ("choices", "violation", "dead"), [([5, 5, 5, 5], 0.0, 0), ([20, 0, 0, 0], 3.0, 3)]
)
def test_violation_is_zero_at_balance_and_experts_minus_one_at_collapse(
    choices: list[int], violation: float, dead: int
) -> None:
    sums = {
        "choices": np.array([choices], float),
        "entropy": np.array([20 * math.log(4)]),
        "dropped": np.array([5.0]),
        "routed_tokens": np.array(20.0),
    }
    (layer,) = summarise_layers(sums, [3])
    assert layer["layer"] == 3
    assert layer["max_violation"] == pytest.approx(violation)
    assert layer["dead_experts"] == dead
    assert sum(layer["load"]) == pytest.approx(1)
    assert layer["router_entropy"] == pytest.approx(math.log(4))
    assert layer["drop_rate"] == pytest.approx(0.25)


def test_losses_are_means_over_tokens_in_total_and_by_topic() -> None:
    generator = torch.Generator().manual_seed(0)
    sums = MetricSums()
    losses, topics, hits = [], [], []
    for count in (3, 11):  # a mean of batch means would weigh these alike
        logits = torch.randn(count, 7, generator=generator)
        targets = torch.randint(7, (count,), generator=generator)
        topic_ids = torch.randint(2, (count,), generator=generator)
        sums.add(language_sums(logits, targets, topic_ids, 3))
        losses += F.cross_entropy(logits, targets, reduction="none").tolist()
        hits += (logits.argmax(-1) == targets).tolist()
        topics += topic_ids.tolist()
    host = sums.to_host(None)
    total = summarise_language(host)
    assert total["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert total["accuracy"] == pytest.approx(np.mean(hits))
    assert total["perplexity"] == pytest.approx(math.exp(np.mean(losses)), rel=1e-5)
    by_topic = summarise_topics(host, ["first", "second", "absent"])
    assert set(by_topic) == {"first", "second"}
    for topic_id, name in enumerate(by_topic):
        own = [loss for loss, topic in zip(losses, topics, strict=True) if topic == topic_id]
        assert by_topic[name] == pytest.approx({"loss": np.mean(own), "tokens": len(own)})


def test_sums_start_again_after_they_are_read() -> None:
    sums = MetricSums()
    sums.add({"loss": torch.tensor(2.0)})
    sums.add({"loss": torch.tensor(3.0)})
    assert sums.to_host(None)["loss"] == 5
    assert sums.is_empty


def test_labels_that_tie_count_as_guessing_among_them_would() -> None:
    """Coarse scores tie: counting every tie as a hit, or the first of it, both mislead."""
    generator = torch.Generator().manual_seed(0)
    exact = torch.randn(20_000, 12, generator=generator)
    targets = torch.multinomial(exact.softmax(-1), 1, generator=generator).squeeze(1)
    coarse = (exact * 2).round() / 2  # as autocast's outputs: few bits in a wide type
    truth = float((exact.argmax(-1) == targets).float().mean())
    top = coarse.amax(-1, keepdim=True)
    tied = coarse == top
    expected = float((tied.gather(1, targets[:, None]).squeeze(1) / tied.sum(-1)).sum())
    counted = float(correct_sum(coarse, targets, coarse=True))
    assert counted == pytest.approx(expected, rel=1e-6)
    every = float(correct_sum(coarse, targets, coarse=False))
    assert every / len(targets) > truth + 0.05
    flipped = float(correct_sum(coarse.flip(1), 11 - targets, coarse=True))
    assert counted == pytest.approx(flipped)  # whatever the order of the vocabulary
    assert float(correct_sum(exact, targets, coarse=True)) == pytest.approx(truth * len(targets))


def test_no_label_is_no_hit() -> None:
    logits, targets = torch.zeros(3, 4), torch.tensor([-100, 0, -100])
    assert float(correct_sum(logits, targets, coarse=True)) == pytest.approx(0.25)
    assert int(correct_sum(logits, targets, coarse=False)) == 1
