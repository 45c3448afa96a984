"""E14 between runs: experts are found again under other names, and strangers are not."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.optimize import linear_sum_assignment

from moescope.analysis.comparison.matching import match_experts, run_similarity, shared_profiles
from moescope.data_processors.mask_kinds import MaskKind
from moescope.inference.store.reader import RoutingStore
from moescope.inference.store.schema import StoreFacts

TYPES, EXPERTS, LAYERS = 200, 8, (0, 2)


def planted(
    logits: np.ndarray,
    generator: np.random.Generator,
    tokens: int = 20_000,
    documents: int = 60,
    burst: float = 0.0,
    noise: float = 0.0,
) -> RoutingStore:
    """A store in memory whose types go to experts by their own log-odds (X, L, E).

    Documents prefer words and experts of their own, by log-odds of the deviations `burst`, `noise`.
    """
    types, layers, experts = logits.shape
    words = burst * np.random.default_rng(9).normal(size=(documents, types))  # both runs' texts
    frequency = np.exp(words) / np.arange(2, types + 2)
    rows = np.sort(generator.integers(0, documents, tokens))
    order = np.cumsum(frequency, axis=1) / frequency.sum(axis=1, keepdims=True)
    ids = (order[rows] < generator.random(tokens)[:, None]).sum(axis=1)
    scores = logits[ids] + noise * generator.normal(size=(documents, layers, experts))[rows]
    chosen = (scores + generator.gumbel(size=scores.shape)).argmax(axis=-1)
    sizes = np.bincount(rows, minlength=documents)
    facts = StoreFacts(
        layers=list(LAYERS[:layers]),
        num_experts=experts,
        top_k=1,
        topics=["a"],
        num_tokens=tokens,
        num_documents=documents,
        types=list(range(types)),
        type_strings=[*(f"t{x}" for x in range(types)), "other"],
        token_classes=["word"],
        type_classes=[0] * types,
        position_edges=[0],
        model="planted",
        split="probe",
    )
    names = [f"d{row:03d}" for row in range(documents)]
    frame = pd.DataFrame({"document": np.arange(documents), "id": names, "group": names})
    frame = frame.assign(topic_id=0, num_untouched=sizes, num_masked=0)
    nothing = np.zeros((documents, layers, experts), np.int64)
    sample = pd.DataFrame({"document": rows, "position": np.arange(tokens), "input_id": ids})
    known = {
        "folder": Path("planted"),
        "facts": facts,
        "documents": frame,
        "expert_counts": nothing,
        "masked_expert_counts": nothing,
        "sample": sample.assign(mask_kind=int(MaskKind.UNTOUCHED)),
        "sample_experts": chosen[..., None],
    }
    return RoutingStore(**{field.name: known.get(field.name) for field in fields(RoutingStore)})


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def logits(generator: np.random.Generator) -> np.ndarray:
    return 1.5 * generator.normal(size=(TYPES, len(LAYERS), EXPERTS))


def reordered(store: RoutingStore, order: np.ndarray) -> RoutingStore:
    """The same store with its types under other ids, as another tokenizer gives."""
    facts = store.facts
    names = [facts.type_strings[row] for row in order] + ["other"]
    place = np.argsort(order)
    sample = store.sample.assign(input_id=place[store.sample.input_id])
    return replace(store, facts=facts.model_copy(update={"type_strings": names}), sample=sample)


def test_a_run_is_itself(logits: np.ndarray, generator: np.random.Generator) -> None:
    store = planted(logits, generator)
    experts = match_experts(store, store, generator, 19)
    assert (experts.expert == experts.matched_expert).all()
    np.testing.assert_allclose(experts.similarity, 1)
    layers = run_similarity(store, store, generator, 19)
    np.testing.assert_allclose(layers.similarity, 1)
    assert layers.layer.tolist() == list(LAYERS)
    assert (layers.p_value == 0.05).all()


def test_renumbered_experts_are_found_under_their_new_numbers(
    logits: np.ndarray, generator: np.random.Generator
) -> None:
    first = planted(logits, generator)
    numbers = np.stack([generator.permutation(EXPERTS) for _ in LAYERS])
    renamed = np.take_along_axis(logits, numbers[None], axis=2)  # new expert j was numbers[j]
    second = reordered(planted(renamed, generator), generator.permutation(TYPES))
    found = match_experts(first, second, generator, 39)
    for position, layer in enumerate(LAYERS):
        own = found[found.layer == layer]
        assert numbers[position][own.matched_expert].tolist() == own.expert.tolist()
    assert (found.similarity > found.null_high).all()
    assert (found.p_value == 1 / 40).all()
    assert (run_similarity(first, second, generator, 39).excess > 0.7).all()


def test_strangers_are_no_more_alike_than_the_null(generator: np.random.Generator) -> None:
    p_values, excess = [], []
    for _ in range(12):
        first, second = (
            planted(1.5 * generator.normal(size=(TYPES, 1, EXPERTS)), generator) for _ in range(2)
        )
        layer = run_similarity(first, second, generator, 19)
        p_values.append(layer.p_value[0])
        excess.append(layer.excess[0])
        assert layer.similarity[0] > 0.1, "the best pairs of strangers correlate: hence the null"
    assert sum(p <= 0.05 for p in p_values) <= 4
    assert abs(np.mean(excess)) < 0.05


def test_correlations_equal_a_slow_twin(logits: np.ndarray, generator: np.random.Generator) -> None:
    first, second = (
        planted(x, generator) for x in (logits, logits + generator.normal(size=logits.shape))
    )
    shared = shared_profiles(first, second)
    assert (np.diff(shared.weights) >= 0).all()
    assert shared.weights.sum() == pytest.approx(1)
    table = np.zeros((EXPERTS, EXPERTS))
    for i in range(EXPERTS):
        for j in range(EXPERTS):
            cov = np.cov(shared.first[1, i], shared.second[1, j], aweights=shared.weights, ddof=0)
            table[i, j] = cov[0, 1] / np.sqrt(cov[0, 0] * cov[1, 1])
    rows, columns = linear_sum_assignment(table, maximize=True)
    found = match_experts(first, second, generator, 19)
    own = found[found.layer == LAYERS[1]]
    assert own.matched_expert.tolist() == columns.tolist()
    np.testing.assert_allclose(own.similarity, table[rows, columns])


def test_different_sizes_and_nothing_in_common(
    logits: np.ndarray, generator: np.random.Generator
) -> None:
    large, small = planted(logits, generator), planted(logits[..., 2:], generator)
    found = match_experts(large, small, generator, 19)
    assert found.groupby("layer").size().tolist() == [EXPERTS - 2] * 2
    assert (found.expert - found.matched_expert == 2).mean() > 0.8
    other = replace(
        small, facts=small.facts.model_copy(update={"type_strings": ["other"] * (TYPES + 1)})
    )
    assert match_experts(large, other, generator, 19).empty
    assert run_similarity(large, other, generator, 19).empty


def test_unrelated_routers_of_bursty_texts_are_strangers() -> None:
    """Words of few texts go where these texts go: by the types alone half would be rejected."""
    rejected = 0
    for seed in range(20):
        generator = np.random.default_rng([3, seed])
        first, second = (
            planted(
                0.5 * generator.normal(size=(TYPES, 1, EXPERTS)),
                generator,
                tokens=9_000,
                documents=30,
                burst=1.0,
                noise=1.5,
            )
            for _ in range(2)
        )
        rejected += run_similarity(first, second, generator, 19).p_value[0] <= 0.05
    assert rejected <= stats.binom.ppf(0.9999, 20, 0.05)


def test_without_tokens_of_documents_nothing_is_compared(
    logits: np.ndarray, generator: np.random.Generator
) -> None:
    store = planted(logits, generator)
    bare = replace(store, sample=store.sample[:0], sample_experts=store.sample_experts[:0])
    assert run_similarity(store, bare, generator, 19).empty
