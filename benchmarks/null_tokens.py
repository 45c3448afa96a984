"""Made-up corpora token by token, for tests that ask what words leave to explain.

`TOKEN_NULLS` names plans in which the topic does nothing beyond the words (and, where
`previous_effect` is set, the pair of previous and current word) that it brings.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TokenPlan:
    """What the tokens of a corpus look like.

    Attributes:
        topics: T.
        groups: groups of each topic.
        documents: documents of each group.
        tokens: tokens of a document, mean.
        length_ratio: mean length of the longest topic over that of the shortest.
        types: frequent words; frequencies fall as 1 / (rank + 2).
        experts: experts of the one layer; one is chosen per token.
        vocabulary: log-odds by which topics differ in their words, standard deviation.
        burstiness: the same for documents: a document repeats its own words.
        rare: share of tokens that are rare words, hardly any of them seen five times.
        languages: each topic has words of its own and none of the others'.
        word_effect: log-odds that a word adds to each expert, standard deviation.
        previous_effect: the same of the pair of previous and current word.
        group_noise: the same of a group.
        document_noise: the same of a document.
        context: log-odds that topic t adds to expert t mod E, whatever the word.
        effect_seed: of the topics' words and of what words do, which are then the same in every
            corpus of the plan; None = drawn anew.
    """

    topics: int = 4
    groups: int = 20
    documents: int = 1
    tokens: float = 60.0
    length_ratio: float = 1.0
    types: int = 60
    experts: int = 8
    vocabulary: float = 0.0
    burstiness: float = 0.0
    rare: float = 0.0
    languages: bool = False
    word_effect: float = 1.5
    previous_effect: float = 0.0
    group_noise: float = 0.3
    document_noise: float = 0.0
    context: float = 0.0
    effect_seed: int | None = None


@dataclass(frozen=True)
class TokenCorpus:
    """Tokens by document and position.

    Attributes:
        documents: (N) document of each token, ascending.
        positions: (N) from 0 in each document.
        types: (N) type of each token, from 0 and each with a token.
        experts: (N) chosen expert.
        topic_ids: (D) topic of each document.
        groups: (D) group of each document.
        num_topics: T.
        num_experts: E.
    """

    documents: np.ndarray
    positions: np.ndarray
    types: np.ndarray
    experts: np.ndarray
    topic_ids: np.ndarray
    groups: np.ndarray
    num_topics: int
    num_experts: int


TOKEN_NULLS = {
    "words alone": TokenPlan(vocabulary=1.0),
    "words and rare words": TokenPlan(vocabulary=0.7, rare=0.085),
    "rare words": TokenPlan(rare=0.085),
    "bursty words": TokenPlan(vocabulary=0.5, burstiness=1.0),
    "five documents a group": TokenPlan(documents=5, vocabulary=0.5, group_noise=0.6, tokens=30),
    "length x4": TokenPlan(vocabulary=0.5, length_ratio=4.0),
    "length x10": TokenPlan(vocabulary=0.5, length_ratio=10.0),
    "strong noise": TokenPlan(document_noise=0.8, groups=12, tokens=30),
}
PREVIOUS_NULLS = {  # the first form of E4 sees collocation here; the second must not
    "previous token": TokenPlan(vocabulary=1.0, previous_effect=1.5, types=20),
    "previous token, rare words": TokenPlan(
        vocabulary=1.0, previous_effect=1.5, types=20, rare=0.085
    ),
}
LANGUAGES = TokenPlan(languages=True)  # no word is common to two topics: nothing can be told


def draw_tokens(plan: TokenPlan, generator: np.random.Generator) -> TokenCorpus:
    """Draws the tokens of a plan."""
    groups = np.repeat(np.arange(plan.topics * plan.groups), plan.documents)  # (D)
    topic_ids = groups // plan.groups
    steps = topic_ids / max(plan.topics - 1, 1)
    lengths = np.maximum(generator.poisson(plan.tokens * plan.length_ratio**steps), 3)
    documents = np.repeat(np.arange(len(groups)), lengths)
    positions = np.arange(len(documents)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    words = _words(plan, topic_ids, documents, generator)
    _, types = np.unique(words, return_inverse=True)
    scores = plan.word_effect * _noise(_fixed(plan, 1, generator), types, plan.experts)
    if plan.previous_effect:
        previous = np.where(positions == 0, -1, np.roll(types, 1))
        pairs = np.unique((previous + 1) * (types.max() + 1) + types, return_inverse=True)[1]
        scores += plan.previous_effect * _noise(generator, pairs, plan.experts)
    scores += plan.group_noise * _noise(generator, groups, plan.experts)[documents]
    scores += plan.document_noise * _noise(generator, documents, plan.experts)
    scores[np.arange(len(scores)), topic_ids[documents] % plan.experts] += plan.context
    experts = (scores + generator.gumbel(size=scores.shape)).argmax(axis=1)
    return TokenCorpus(
        documents, positions, types, experts, topic_ids, groups, plan.topics, plan.experts
    )


def document_counts(corpus: TokenCorpus) -> np.ndarray:
    """Choices of each document: (D, 1, E), int32."""
    counts = np.zeros((len(corpus.topic_ids), 1, corpus.num_experts), np.int32)
    np.add.at(counts, (corpus.documents, 0, corpus.experts), 1)
    return counts


def _words(
    plan: TokenPlan, topic_ids: np.ndarray, documents: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """A word of each token (N)."""
    common = -np.log(np.arange(plan.types) + 2.0)
    fixed = _fixed(plan, 0, generator)
    topical = plan.vocabulary * fixed.normal(size=(plan.topics, plan.types))
    own = plan.burstiness * generator.normal(size=(len(topic_ids), plan.types))
    odds = np.exp(common + topical[topic_ids] + own)
    cumulative = np.cumsum(odds, axis=1) / odds.sum(axis=1, keepdims=True)
    place = generator.random(len(documents))
    words = (cumulative[documents] < place[:, None]).sum(axis=1)
    if plan.languages:
        words = words + plan.types * topic_ids[documents]
    rare = generator.random(len(documents)) < plan.rare
    pool = max(1, len(documents) // 10)  # each seen about plan.rare × 10 times
    return np.where(rare, 10**6 + generator.integers(0, pool, len(documents)), words)


def _fixed(plan: TokenPlan, what: int, generator: np.random.Generator) -> np.random.Generator:
    """What draws the things that the corpora of a plan may share."""
    return (
        generator if plan.effect_seed is None else np.random.default_rng([plan.effect_seed, what])
    )


def _noise(generator: np.random.Generator, numbers: np.ndarray, experts: int) -> np.ndarray:
    """Standard normal log-odds of each of the numbered things, one row per entry of `numbers`."""
    drawn: np.ndarray = generator.normal(size=(int(numbers.max()) + 1, experts))[numbers]
    return drawn
