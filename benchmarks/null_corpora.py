"""Made-up corpora whose truth is known: kind and unkind ones, with and without a topic effect.

Every test of the report assumes something of its documents. Real documents keep to little of it:
authors write several, topics differ in length and spread, words are rare. `KIND` and `UNKIND` name
one plan for each such habit, none of them with a topic effect; `planted` adds one. The token-level
plans in `TOKEN_NULLS` do the same for tests that look at words.
"""

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Plan:
    """What the documents of a corpus look like.

    Attributes:
        groups: groups of each topic (T); documents of a group share an origin.
        documents: documents of each group.
        layers: layers, each with routing and noise of its own.
        experts: experts per layer; one is chosen per token.
        tokens: tokens of a document in the shortest topic, mean.
        length_ratio: mean length of the longest topic over that of the shortest; the others lie
            between, in equal steps of the logarithm.
        length_tail: standard deviation of the logarithm of a document's length.
        load: standard deviation of the log-odds of the experts.
        group_noise: standard deviation of each group's own log-odds per expert.
        document_noise: the same of each document.
        heterogeneous: factor on the noise of the first topic. Unequal noise of log-odds moves mean
            shares, too, which is an effect: use it where `load` is 0, or with `dirichlet`.
        dirichlet: concentration per expert of Dirichlet shares of each group in place of noisy
            log-odds, whose mean does not depend on it; 0 = none.
        spanning: share of groups that write on two topics: half of their documents on the next.
        zero_inflation: share of groups that never use an expert, for each expert.
        duplicates: share of a group's documents that repeat the routing of its first, token by
            token, as near-duplicates do.
        position_effect: log-odds by which experts differ at the first 20 tokens of a document.
        effect: log-odds by which topics differ, in all layers; standard deviation over experts.
        effect_seed: of these log-odds, which are the same in every corpus of the plan.
    """

    groups: tuple[int, ...] = (24, 24, 24, 24)
    documents: int = 1
    layers: int = 1
    experts: int = 8
    tokens: float = 60.0
    length_ratio: float = 1.0
    length_tail: float = 0.0
    load: float = 0.5
    group_noise: float = 0.3
    document_noise: float = 0.0
    heterogeneous: float = 1.0
    dirichlet: float = 0.0
    spanning: float = 0.0
    zero_inflation: float = 0.0
    duplicates: float = 0.0
    position_effect: float = 0.0
    effect: float = 0.0
    effect_seed: int = 0


@dataclass(frozen=True)
class Corpus:
    """Choices of documents.

    Attributes:
        counts: (D, L, E) choices, int32.
        tokens: (D) tokens; one choice each.
        topic_ids: (D) from 0.
        groups: (D) number of each document's group.
        num_topics: T.
    """

    counts: np.ndarray
    tokens: np.ndarray
    topic_ids: np.ndarray
    groups: np.ndarray
    num_topics: int


KIND = {
    "documents alike": Plan(group_noise=0.0),
    "documents with noise": Plan(group_noise=0.5),
}
UNKIND = {
    "length x1.8": Plan(length_ratio=1.8),
    "length x4": Plan(length_ratio=4.0),
    "length x10": Plan(length_ratio=10.0),
    "length x10, no noise": Plan(length_ratio=10.0, group_noise=0.0),
    "length x10, strong noise": Plan(length_ratio=10.0, group_noise=0.8),
    "heavy-tailed lengths": Plan(length_tail=1.2, group_noise=0.5),
    "one heterogeneous topic": Plan(heterogeneous=3.0, dirichlet=4.0),
    "one heterogeneous topic, even load": Plan(heterogeneous=4.0, load=0.0),
    "one topic of five times the spread": Plan(heterogeneous=5.0, dirichlet=4.0),
    "64 experts, one heterogeneous topic": Plan(
        experts=64, load=1.0, heterogeneous=3.0, dirichlet=1.0
    ),
    "five documents a group": Plan(documents=5, group_noise=0.6, document_noise=0.3),
    "groups span topics": Plan(documents=4, spanning=0.5, group_noise=0.6),
    "near-duplicates": Plan(documents=5, duplicates=0.6, group_noise=0.3, document_noise=0.3),
    "position-driven experts": Plan(position_effect=1.0, length_tail=0.7),
    "tiny topics": Plan(groups=(10, 10, 60, 60)),
    "20 topics x 10 documents": Plan(groups=(10,) * 20),
    "zero-inflated experts": Plan(zero_inflation=0.5, group_noise=0.5),
    "Dirichlet groups": Plan(dirichlet=4.0),
    "64 experts, length x4": Plan(experts=64, tokens=100.0, length_ratio=4.0, load=1.0),
}


def planted(plan: Plan, effect: float) -> Plan:
    """The same plan with a topic effect."""
    return replace(plan, effect=effect)


def draw_corpus(plan: Plan, generator: np.random.Generator) -> Corpus:
    """Draws the documents of a plan."""
    num_topics = len(plan.groups)
    home = np.repeat(np.arange(num_topics), plan.groups)  # (G)
    groups = np.repeat(np.arange(len(home)), plan.documents)  # (D)
    topic_ids = home[groups]
    if plan.spanning:
        spans = generator.random(len(home)) < plan.spanning
        second = np.tile(np.arange(plan.documents) % 2 == 1, len(home))
        topic_ids = np.where(spans[groups] & second, (topic_ids + 1) % num_topics, topic_ids)
    tokens = _lengths(plan, topic_ids, generator)
    counts = np.empty((len(groups), plan.layers, plan.experts), np.int32)
    for layer in range(plan.layers):
        shares = _shares(plan, layer, topic_ids, groups, generator)
        early = np.minimum(tokens, 20) if plan.position_effect else np.zeros_like(tokens)
        tilt = np.exp(plan.position_effect * _fixed(plan, 2, layer, (plan.experts,)))
        counts[:, layer] = generator.multinomial(tokens - early, shares)
        counts[:, layer] += generator.multinomial(early, _normalised(shares * tilt))
    first = groups * plan.documents
    copied = (generator.random(len(groups)) < plan.duplicates) & (topic_ids == topic_ids[first])
    counts[copied], tokens[copied] = counts[first[copied]], tokens[first[copied]]
    return Corpus(counts, tokens, topic_ids, groups, num_topics)


def expected_shares(plan: Plan, draws: int = 200_000) -> np.ndarray:
    """Expert shares of each topic, as the mean over all groups that could be drawn: (T, L, E)."""
    generator, topics = np.random.default_rng(1), np.arange(len(plan.groups))
    each = replace(plan, duplicates=0.0, spanning=0.0, documents=1)
    many = np.repeat(topics, max(1, draws // len(topics)))
    rows = np.arange(len(many))
    shares = [_shares(each, layer, many, rows, generator) for layer in range(plan.layers)]
    return np.stack([[layer[many == topic].mean(axis=0) for layer in shares] for topic in topics])


def _lengths(plan: Plan, topic_ids: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Tokens of each document (D); at least 3."""
    steps = topic_ids / max(len(plan.groups) - 1, 1)
    mean = plan.tokens * plan.length_ratio**steps
    tail = np.exp(plan.length_tail * generator.normal(size=len(topic_ids)))
    return np.maximum(generator.poisson(mean * tail), 3)


def _shares(
    plan: Plan,
    layer: int,
    topic_ids: np.ndarray,
    groups: np.ndarray,
    generator: np.random.Generator,
) -> np.ndarray:
    """Expert shares of each document (D, E)."""
    num_groups, experts = int(groups.max()) + 1, plan.experts
    common = plan.load * _fixed(plan, 0, layer, (experts,))
    topical = plan.effect * _fixed(plan, 1, layer, (len(plan.groups), experts))
    of_group = plan.group_noise * generator.normal(size=(num_groups, experts))
    of_document = plan.document_noise * generator.normal(size=(len(groups), experts))
    spread = np.where(topic_ids == 0, plan.heterogeneous, 1.0)[:, None]
    logits = common + topical[topic_ids] + spread * (of_group[groups] + of_document)
    shares = _normalised(np.exp(logits))
    if plan.dirichlet:
        first = np.unique(groups, return_index=True)[1]  # a group's first document
        base = plan.dirichlet * experts * _normalised(np.exp((common + topical)[topic_ids[first]]))
        shares = _normalised(generator.standard_gamma(base / spread[first] ** 2) + 1e-12)[groups]
    if plan.zero_inflation:
        used = generator.random((num_groups, experts)) >= plan.zero_inflation
        used[np.arange(num_groups), generator.integers(0, experts, num_groups)] = True
        shares = _normalised(shares * used[groups])
    return shares


def _fixed(plan: Plan, what: int, layer: int, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal numbers that every corpus of a plan shares."""
    return np.random.default_rng([plan.effect_seed, what, layer]).normal(size=shape)


def _normalised(weights: np.ndarray) -> np.ndarray:
    shares: np.ndarray = weights / weights.sum(axis=-1, keepdims=True)
    return shares
