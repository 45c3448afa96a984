"""What the token mix of documents alone would make of their experts: the bracket beside E4."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from ...data.sample import TokenSample
from ...statistics.permutations import topic_sums

PRIOR = 1.0  # tokens routed as elsewhere, added to every type


@dataclass(frozen=True)
class TypeTable:
    """Choices (X, L·E) and tokens (X) of every type, and the share of tokens π (L·E) per expert."""

    choices: np.ndarray
    tokens: np.ndarray
    load: np.ndarray


def mix_choices(sample: TokenSample, types: TypeTable) -> tuple[np.ndarray, np.ndarray]:
    """Choices of each document, and those that its types give as routed everywhere: (S, L·E)."""
    shape = len(sample.rows), len(sample.token_ids)
    ones = np.ones(len(sample.types))
    mix = sparse.csr_array((ones, (sample.documents, sample.types)), shape)  # tokens by d and x
    mix.sum_duplicates()
    observed = _choices(sample, sample.documents, len(sample.rows), ones)
    return observed, mix @ (types.choices / types.tokens[:, None])


def other_topics_expectation(
    sample: TokenSample, types: TypeTable, observed: np.ndarray, topic_ids: np.ndarray
) -> np.ndarray:
    """Choices (T, L·E) that the token mix of each topic gives by the types' routing elsewhere.

    q_t: (C_xe − C_xe^t + a·r_te) / (C_x − C_x^t + a) with a = 1, choices of type x outside the
    topic, and for types that hardly occur elsewhere the other topics' load r_t, the share of their
    tokens on each expert; w_t: the topic's share of all tokens. Expected is
    p̄ + (1 − w_t)(q_t − r_t): the shift that words make, off the mean of all topics. Without r_t,
    what the left-out topic does by context would return as a dip in its own expectation.

    Args:
        sample: untouched tokens of the sampled documents.
        types: choices of their types.
        observed: (S, L·E) choices of each document.
        topic_ids: (S) topic of each document.
    """
    topics = len(sample.topics)
    token_topics = topic_ids[sample.documents]
    cells = token_topics * len(types.tokens) + sample.types
    mix = np.bincount(cells, minlength=topics * len(types.tokens)).reshape(topics, -1)  # (T, X)
    tokens = mix.sum(axis=1, keepdims=True)
    outside = tokens.sum() - tokens
    weights = mix / (types.tokens - mix + PRIOR)
    own = topic_sums(observed, topic_ids, topics)
    elsewhere = (own.sum(axis=0) - own) / np.maximum(outside, 1)
    own_weighted = _choices(sample, token_topics, topics, weights[token_topics, sample.types])
    prior = weights.sum(axis=1, keepdims=True) * PRIOR * elsewhere
    mixed = (weights @ types.choices - own_weighted + prior) / np.maximum(tokens, 1)
    shares = types.load + outside / tokens.sum() * (mixed - elsewhere)
    expected: np.ndarray = tokens * np.maximum(shares, 0)
    return expected


def type_table(sample: TokenSample) -> TypeTable:
    """Counts the choices of every type; each of the sample's types has a token."""
    choices = _choices(sample, sample.types, len(sample.token_ids), np.ones(len(sample.types)))
    tokens = np.bincount(sample.types, minlength=len(sample.token_ids))
    return TypeTable(choices, tokens, choices.sum(axis=0) / len(sample.types))


def _choices(
    sample: TokenSample, groups: np.ndarray, num_groups: int, weights: np.ndarray
) -> np.ndarray:
    """Adds the weights of a group's tokens by layer and expert: (G, L·E)."""
    layers, slots = len(sample.layers), sample.num_experts + 1  # the last: slot not executed
    sums = np.zeros((num_groups, layers, slots))
    for layer in range(layers):
        for chosen in sample.experts[:, layer].T:
            counted = np.bincount(groups * slots + chosen, weights, num_groups * slots)
            sums[:, layer] += counted.reshape(num_groups, slots)
    return sums[..., :-1].reshape(num_groups, -1)
