"""Every router against a slow twin written from its paper, one token at a time."""

import math
from typing import Any

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor

from moescope.model import ROUTERS, MoescopeConfig, Router, Routing, RoutingContext

EVERY_ROUTER: dict[str, tuple[dict[str, Any], int]] = {
    "topk": ({}, 2),
    "topk-after": ({"softmax": "after"}, 3),
    "topk-plain": ({"renormalise": False}, 1),
    "switch": ({"jitter": 0.1}, 1),
    "switch-capacity": ({"capacity_factor": 1.0, "eval_capacity_factor": 1.0}, 1),
    "gshard": ({}, 2),
    "gshard-capacity": ({"capacity_factor": 1.0, "eval_capacity_factor": 0.5}, 2),
    "noisy_topk": ({}, 2),
    "sigmoid": ({"scaling": 2.5}, 2),
    "expert_choice": ({}, 2),
    "masked": ({"values": [0, 1, 2]}, 2),
    "hash": ({}, 2),
    "hash-random": ({"key": "random"}, 2),
}


def build_router(case: str, num_experts: int = 5, **overrides: Any) -> Router:
    settings, k = EVERY_ROUTER[case]
    name = case.split("-")[0]
    config = MoescopeConfig(
        hidden_size=6,
        num_attention_heads=3,
        num_experts=num_experts,
        num_experts_per_tok=min(k, num_experts),
        router={"name": name} | settings | overrides,
    )
    router = ROUTERS[name](config, layer_idx=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in router.parameters():
            parameter.normal_(generator=generator)
    return router.eval()


def build_context(batch_size: int, length: int, padded: int = 0) -> RoutingContext:
    rows = batch_size * length
    generator = torch.Generator().manual_seed(7)
    mask = torch.ones(batch_size, length, dtype=torch.bool)
    if padded:
        mask[-1, -padded:] = False
    return RoutingContext(
        batch_size=batch_size,
        token_mask=mask.view(-1) if padded else None,
        input_ids=torch.randint(0, 50, (rows,), generator=generator),
        position_ids=torch.arange(length).repeat(batch_size),
        metadata_ids=torch.randint(-1, 3, (batch_size, 1), generator=generator)
        .expand(batch_size, length)
        .reshape(-1),
    )


def hidden_rows(rows: int, seed: int = 1) -> Tensor:
    return torch.randn(rows, 6, generator=torch.Generator().manual_seed(seed))


def twin(case: str, router: Router, hidden: Tensor, context: RoutingContext) -> Tensor:
    """(N, E) float64 weight of every expert for every token, without capacity, by plain loops."""
    assert router.weight is not None
    weight = router.weight.double()
    name, settings, k, E = case.split("-")[0], router.settings, router.top_k, router.num_experts
    result = torch.zeros(len(hidden), E, dtype=torch.float64)
    for n, x in enumerate(hidden.double()):
        if context.token_mask is not None and not context.token_mask[n]:
            continue
        scores = weight @ x
        value = scores.softmax(0) if name != "sigmoid" else scores.sigmoid()
        allowed = list(range(E))
        if name == "masked":
            assert context.metadata_ids is not None
            v = int(context.metadata_ids[n])
            allowed = [e for e in range(E) if v == -1 or e * len(settings["values"]) // E <= v]
        chosen = sorted(allowed, key=lambda e: -scores[e].item())[:k]
        total = sum(value[e] for e in chosen)
        for e in chosen:
            normalised = settings.get("renormalise", name in ("gshard", "noisy_topk"))
            share = (
                value[e] / total if normalised or settings.get("softmax") == "after" else value[e]
            )
            result[n, e] = share * settings.get("scaling", 1.0)
    return result


def dense_weights(routing: Routing) -> Tensor:
    """(N, E) from a record."""
    table = routing.weights.new_zeros(len(routing.weights), routing.num_experts + 1)
    return table.scatter_add(1, routing.dispatched_ids(), routing.weights)[:, :-1]


@pytest.mark.parametrize("num_experts", [1, 5, 16])
@pytest.mark.parametrize("padded", [0, 3])
@pytest.mark.parametrize(
    "case",
    ["topk", "topk-after", "topk-plain", "switch", "gshard", "noisy_topk", "sigmoid", "masked"],
)
def test_values_and_gradients_equal_the_twin(case: str, padded: int, num_experts: int) -> None:
    if case == "gshard" and num_experts == 1:
        pytest.skip("GShard needs two experts; nothing to unskip")
    router, context = build_router(case, num_experts), build_context(3, 8, padded)
    hidden = hidden_rows(24).requires_grad_()
    got = dense_weights(router(hidden, context))
    expected = twin(case, router, hidden, context)
    torch.testing.assert_close(got.double(), expected, rtol=1e-4, atol=1e-6)
    direction = torch.linspace(-1, 1, got.numel()).view_as(got)
    assert router.weight is not None
    ours = torch.autograd.grad(got, [hidden, router.weight], direction, retain_graph=True)
    theirs = torch.autograd.grad(expected, [hidden, router.weight], direction.double())
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b.float(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("case", EVERY_ROUTER)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("scale", [0, 1, 100])  # 0: every score ties
def test_record_is_consistent(case: str, training: bool, scale: int) -> None:
    router, context = build_router(case).train(training), build_context(2, 9, padded=4)
    routing = router(scale * hidden_rows(18).bfloat16(), context)
    executed = routing.dispatched_ids() < 5
    assert routing.logits.dtype == routing.weights.dtype == torch.float32
    assert (routing.weights[~executed] == 0).all()
    assert not executed[14:].any()
    assert routing.counts(dispatched=True).sum() == executed.sum()
    for row in routing.dispatched_ids():
        real = row[row < 5].tolist()
        assert len(real) == len(set(real))


@pytest.mark.parametrize("case", [c for c in EVERY_ROUTER if not c.startswith("hash")])
def test_task_gradient_reaches_the_router(case: str) -> None:
    router, context = build_router(case).train(), build_context(4, 8)
    routing = router(hidden_rows(32), context)
    (routing.weights * torch.randn(routing.weights.shape)).sum().backward()
    assert router.weight is not None
    assert router.weight.grad is not None
    assert router.weight.grad.abs().max() > 1e-6


@pytest.mark.parametrize("case", EVERY_ROUTER)
def test_no_rows(case: str) -> None:
    context = build_context(2, 4)._replace(
        batch_size=1,
        input_ids=torch.zeros(0, dtype=torch.long),
        position_ids=torch.zeros(0, dtype=torch.long),
        metadata_ids=torch.zeros(0, dtype=torch.long),
    )
    assert len(build_router(case)(torch.zeros(0, 6), context).weights) == 0


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0, 1.25, 100.0])
@pytest.mark.parametrize("per", ["batch", "sequence"])
@pytest.mark.parametrize(("name", "k"), [("switch", 1), ("gshard", 2)])
def test_capacity_equals_a_queue(name: str, k: int, per: str, factor: float) -> None:
    router = build_router(name, eval_capacity_factor=factor, capacity_per=per)
    context = build_context(3, 10, padded=4)
    routing = router(hidden_rows(30), context)
    ids = routing.expert_ids
    assert context.token_mask is not None
    groups = [range(30)] if per == "batch" else [range(10 * b, 10 * b + 10) for b in range(3)]
    expected = torch.zeros(30, k, dtype=torch.bool)
    for group in groups:
        tokens = sum(bool(context.token_mask[n]) for n in group)
        room = [math.ceil(factor * k * tokens / 5)] * 5
        for slot in range(k):
            for n in group:
                e = int(ids[n, slot])
                if e == 5:
                    continue
                expected[n, slot] = room[e] <= 0
                room[e] -= 1
    assert routing.dropped is not None
    assert torch.equal(routing.dropped, expected)
    assert (routing.weights[expected] == 0).all()


def test_switch_jitters_in_training_only() -> None:
    router, context, hidden = build_router("switch"), build_context(2, 8), hidden_rows(16)
    assert torch.equal(router(hidden, context).logits, router(hidden, context).logits)
    router.train()
    ratio = (
        router(torch.ones(16, 6), context).logits / router.eval()(torch.ones(16, 6), context).logits
    )
    assert not torch.allclose(ratio, torch.ones_like(ratio))


def test_gshard_keeps_the_second_expert_with_twice_its_weight() -> None:
    router, context = build_router("gshard"), build_context(1, 40_000)
    hidden = hidden_rows(1).expand(40_000, 6)
    weight = router(hidden[:1], build_context(1, 1)).weights[0, 1].item()
    kept = (router.train()(hidden, context).expert_ids[:, 1] < 5).float().mean().item()
    assert kept == pytest.approx(min(1, 2 * weight), abs=0.01)


def test_noisy_topk_load_is_the_probability_of_staying_in_the_top_k() -> None:
    router = build_router("noisy_topk").train()
    hidden = hidden_rows(1)
    context = build_context(1, 20_000)
    torch.manual_seed(0)
    many = router(hidden.expand(20_000, 6), context)
    # averaged over the other experts' noise, the estimate is the true frequency
    torch.testing.assert_close(many.load / 20_000, many.counts() / 20_000, rtol=0.05, atol=0.01)


def test_sigmoid_bias_moves_towards_balance_and_only_the_choice_sees_it() -> None:
    router = build_router("sigmoid", bias_update_rate=0.005, renormalise=False).train()
    context, hidden = build_context(8, 64), hidden_rows(512)
    hidden = hidden + 0.5  # skewed: some experts are liked by all
    before = router(hidden, context).counts().float()
    for _ in range(300):
        router(hidden, context)
        router.after_optimizer_step()
    routing = router.eval()(hidden, context)
    after = routing.counts().float()
    assert before.max() / before.mean() > 1.5
    assert after.max() / after.mean() < 1.15
    scores = routing.logits.sigmoid().gather(-1, routing.expert_ids)
    torch.testing.assert_close(routing.weights, 2.5 * scores)


@pytest.mark.parametrize("per", ["sequence", "batch"])
def test_expert_choice_equals_sorting_per_expert(per: str) -> None:
    router, context = build_router("expert_choice", choose_per=per), build_context(3, 10, padded=4)
    hidden = hidden_rows(30)
    got = dense_weights(router(hidden, context))
    assert router.weight is not None
    probabilities = (hidden @ router.weight.T).softmax(-1)
    expected = torch.zeros(30, 5)
    groups = [range(30)] if per == "batch" else [range(10 * b, 10 * b + 10) for b in range(3)]
    assert context.token_mask is not None
    for group in groups:
        real = [n for n in group if context.token_mask[n]]
        for e in range(5):
            best = sorted(real, key=lambda n: -probabilities[n, e].item())
            for n in best[: max(1, 2 * len(real) // 5)]:
                expected[n, e] = probabilities[n, e]
    torch.testing.assert_close(got, expected)


def test_masked_with_nothing_permitted_returns_no_expert() -> None:
    router = build_router("masked", policy="explicit", permitted=[[], [3], [0, 1, 2]])
    condition = torch.tensor([0, 1, 2, -1])
    context = build_context(1, 4)._replace(metadata_ids=condition)
    hidden = hidden_rows(4).requires_grad_()
    routing = router(hidden, context)
    assert (routing.expert_ids[0] == 5).all()
    assert routing.expert_ids[1].tolist() == [3, 5]
    assert routing.weights[1].tolist() == [1, 0]
    assert set(routing.expert_ids[2].tolist()) <= {0, 1, 2}
    routing.weights.sum().backward()
    assert hidden.grad is not None
    assert hidden.grad.isfinite().all()


def test_later_experts_never_reach_earlier_documents() -> None:
    router = build_router("masked", num_experts=6)
    context = build_context(1, 300)._replace(metadata_ids=torch.zeros(300, dtype=torch.long))
    routing = router(hidden_rows(300) - 5, context)
    assert routing.expert_ids.max() <= 1


def test_shared_experts_are_permitted_to_all() -> None:
    router = build_router("masked", num_experts=7, policy="exact", shared=1)
    assert router.permitted.int().tolist() == [
        [1, 1, 1, 0, 0, 0, 0],
        [1, 0, 0, 1, 1, 0, 0],
        [1, 0, 0, 0, 0, 1, 1],
        [1, 1, 1, 1, 1, 1, 1],
    ]


def test_hash_depends_on_its_key_alone_and_is_even() -> None:
    rows = 50_000
    ids = torch.arange(rows)
    context = RoutingContext(1, None, ids, torch.zeros(rows, dtype=torch.long))
    router = build_router("hash")
    first = router(hidden_rows(rows), context)
    second = router(hidden_rows(rows, seed=2), context)
    assert torch.equal(first.expert_ids, second.expert_ids)
    counts = first.counts().float()
    torch.testing.assert_close(counts, counts.mean().expand(5), rtol=0.03, atol=0)
    same_token = context._replace(input_ids=torch.full((rows,), 3), position_ids=ids)
    assert router(hidden_rows(rows), same_token).counts().count_nonzero() == 2
    assert (
        build_router("hash-random")(hidden_rows(rows), same_token).counts().min() > 0.9 * rows * 0.4
    )


REFUSALS: list[tuple[dict[str, Any], str]] = [
    ({"router": {"name": "topkk"}}, 'did you mean "topk"'),
    ({"router": {"name": "topk", "renormalize": True}}, 'did you mean "renormalise"'),
    ({"router": {"name": "topk", "softmax": "both"}}, '"before" or "after"'),
    ({"num_experts_per_tok": 1}, "no gradient from the task"),
    ({"num_experts_per_tok": 1, "router": {"name": "topk", "softmax": "after"}}, "no gradient"),
    ({"num_experts_per_tok": 1, "router": {"name": "sigmoid"}}, "no gradient"),
    ({"num_experts_per_tok": 1, "router": {"name": "noisy_topk"}}, "no gradient"),
    ({"router": {"name": "switch"}}, "one expert per token"),
    ({"num_experts_per_tok": 3, "router": {"name": "gshard"}}, "two experts"),
    ({"num_experts_per_tok": 9}, "above num_experts=8"),
    ({"router": {"name": "expert_choice"}, "is_causal": True}, "leaks the future"),
    ({"router": {"name": "masked", "values": []}}, "at least one"),
    ({"router": {"name": "masked", "policy": "explicit", "permitted": [[9]]}}, "names expert 9"),
    ({"num_experts_per_tok": 1, "router": {"name": "switch", "jitter": 1.5}}, r"in \[0, 1\)"),
    ({"hidden_size": 30}, "not a multiple"),
    ({"num_key_value_heads": 3}, "not a multiple"),
    ({"first_k_dense": 4}, "no MoE layer"),
]


@pytest.mark.parametrize(("overrides", "message"), REFUSALS)
def test_refused_with_a_message_a_person_can_use(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(StrictDataclassError, match=message):
        MoescopeConfig(**overrides)
