"""Samples of tokens whose truth is known: topics that differ in words, in context, or in both."""

from dataclasses import dataclass

import numpy as np

from moescope.analysis.data.sample import TokenSample


@dataclass(frozen=True)
class PlantedTokens:
    """What planted tokens look like.

    Attributes:
        topics: number of topics.
        documents_per_topic: documents of each.
        tokens: tokens per document.
        types: size of the vocabulary.
        experts: experts of the one layer.
        top_k: chosen per token.
        vocabulary: log-odds by which topics differ in their words; words have experts.
        context: log-odds that topic t adds to expert t mod E, whatever the word.
        document_noise: standard deviation of each document's own log-odds per expert.
    """

    topics: int = 4
    documents_per_topic: int = 20
    tokens: int = 60
    types: int = 40
    experts: int = 8
    top_k: int = 1
    vocabulary: float = 0.0
    context: float = 0.0
    document_noise: float = 0.3


def planted_sample(plan: PlantedTokens, generator: np.random.Generator) -> TokenSample:
    """Draws tokens of all documents; choices without replacement by Gumbel noise."""
    topic_ids = np.repeat(np.arange(plan.topics), plan.documents_per_topic)
    documents = np.repeat(np.arange(len(topic_ids)), plan.tokens)
    words = plan.vocabulary * generator.normal(size=(plan.topics, plan.types))
    noise = generator.gumbel(size=(len(documents), plan.types))
    token_ids, types = np.unique(
        (words[topic_ids[documents]] + noise).argmax(axis=1), return_inverse=True
    )
    logits = 1.5 * generator.normal(size=(len(token_ids), plan.experts))[types]
    own = plan.document_noise * generator.normal(size=(len(topic_ids), plan.experts))
    own[np.arange(len(topic_ids)), topic_ids % plan.experts] += plan.context
    scores = logits + own[documents] + generator.gumbel(size=logits.shape)
    experts = np.argsort(-scores, axis=1)[:, : plan.top_k]
    return TokenSample(
        rows=np.arange(len(topic_ids)),
        topic_ids=topic_ids,
        topics=tuple(f"topic {topic}" for topic in range(plan.topics)),
        layers=(0,),
        num_experts=plan.experts,
        documents=documents,
        positions=np.tile(np.arange(plan.tokens), len(topic_ids)),
        types=types,
        token_ids=token_ids,
        experts=experts[:, None, :],
    )


def document_choices(sample: TokenSample) -> np.ndarray:
    """Choices of each document: (S, 1, E)."""
    counts = np.zeros((len(sample.rows), 1, sample.num_experts), dtype=np.int64)
    for slot in range(sample.experts.shape[2]):
        np.add.at(counts, (sample.documents, 0, sample.experts[:, 0, slot]), 1)
    return counts
