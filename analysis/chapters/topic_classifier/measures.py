"""E6, signature probe: can the topic of a document be read off its experts?"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from threadpoolctl import threadpool_limits

from ...data.documents import DocumentCounts
from ...data.run import RunData
from ...data.sample import TokenSample
from ...statistics.bootstrap import interval
from ...statistics.draws import Draws
from ...statistics.groups import origin_units
from ...statistics.permutations import (
    MIN_DOCUMENTS_FOR_P,
    permutation_p,
    permuted_topics,
    restricted_orders,
)

FOLDS = 5
MOST_DOCUMENTS = 2_000
INVERSE_PENALTY = 10.0


@dataclass(frozen=True)
class ProbeInput:
    """What the probe reads, one row per document.

    Attributes:
        routing: (D, L·E) square roots of expert shares, standardised.
        tokens: (D, X) log token counts, rows of length 1; None = not known.
        topic_ids: (D).
        folds: (D) fold in which the document is tested; origins stay together.
    """

    routing: np.ndarray
    tokens: sparse.csr_array | None
    topic_ids: np.ndarray
    folds: np.ndarray


def probe_folds(groups: Sequence[str], generator: np.random.Generator) -> np.ndarray:
    """Deals documents into folds, those of one origin into the same; blind to topics."""
    names, group_ids = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    if len(names) < 2:
        return np.zeros(len(group_ids), dtype=np.int64)
    splitter = GroupKFold(
        min(FOLDS, len(names)), shuffle=True, random_state=int(generator.integers(2**31))
    )
    folds = np.zeros(len(group_ids), dtype=np.int64)
    for fold, (_, test) in enumerate(splitter.split(group_ids, groups=group_ids)):
        folds[test] = fold
    return folds


def routing_features(counts: np.ndarray) -> np.ndarray:
    """Square roots of expert shares of each document, standardised: (D, L, E) → (D, L·E)."""
    totals = np.maximum(counts.sum(axis=-1, keepdims=True), 1)
    roots = np.sqrt(counts / totals).reshape(len(counts), -1)
    spread = roots.std(axis=0)
    features = (roots - roots.mean(axis=0)) / np.where(spread > 0, spread, 1)
    narrow: np.ndarray = (features / np.sqrt(features.shape[1])).astype(np.float32)
    return narrow


def token_features(sample: TokenSample) -> sparse.csr_array:
    """Logs of 1 + token counts of each sampled document, rows of length 1: (S, X)."""
    shape = len(sample.rows), len(sample.token_ids)
    ones = np.ones(len(sample.types))
    bag = sparse.csr_array((ones, (sample.documents, sample.types)), shape)
    bag.sum_duplicates()
    bag.data = np.log1p(bag.data)
    lengths = np.sqrt(bag.multiply(bag).sum(axis=1))
    return sparse.csr_array(sparse.diags_array(1 / lengths) @ bag)


def predicted_topics(
    features: np.ndarray | sparse.csr_array, topics: np.ndarray, folds: np.ndarray
) -> np.ndarray:
    """Topic of each document by a logistic regression on the documents of the other folds.

    Args:
        features: (D, …).
        topics: (R, D) labels to learn, each row by itself.
        folds: (D).
    """
    predicted = np.full(topics.shape, -1)
    with threadpool_limits(1), config_context(assume_finite=True), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for fold in np.unique(folds):
            rest, test = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
            known, unknown = features[rest], features[test]
            for row, labels in enumerate(topics[:, rest]):
                if len(np.unique(labels)) < 2:
                    continue
                model = LogisticRegression(C=INVERSE_PENALTY, max_iter=100, tol=1e-2)
                predicted[row, test] = model.fit(known, labels).predict(unknown)
    return predicted


def balanced_accuracy(correct: np.ndarray, topic_ids: np.ndarray) -> np.ndarray:
    """Mean over topics of the share of documents predicted right, over the last axis of (…, D)."""
    topics = np.unique(topic_ids)
    shares = [correct[..., topic_ids == topic].mean(axis=-1) for topic in topics]
    accuracy: np.ndarray = np.mean(shares, axis=0)
    return accuracy


def probe_p_value(probe: ProbeInput, permuted: np.ndarray) -> tuple[float, np.ndarray]:
    """Permutation p of the routing's accuracy, and the accuracies under permutation (P)."""
    topics = np.concatenate([probe.topic_ids[None], permuted])
    found = predicted_topics(probe.routing, topics, probe.folds) == topics
    accuracy, *null = (balanced_accuracy(*row) for row in zip(found, topics, strict=True))
    return float(permutation_p(accuracy, np.array(null))), np.array(null)


def topics_over_origins(
    origins: Sequence[Any], topic_ids: np.ndarray, orders: np.ndarray
) -> np.ndarray:
    """Topics shuffled over whole origins: (P, D); documents of one origin and topic stay together.

    Args:
        origins: of each document (D).
        topic_ids: (D).
        orders: (P, D) orders of the documents; what is left of them orders the origins.
    """
    units, first = origin_units(origins, topic_ids)
    return permuted_topics(restricted_orders(orders, first), topic_ids[first])[:, units]


def probe_input(
    data: DocumentCounts,
    sample: TokenSample,
    groups: Sequence[str] | None,
    generator: np.random.Generator,
) -> tuple[ProbeInput, np.ndarray]:
    """Chooses the documents of the probe (the sampled ones, if all topics are), at most 2,000.

    Args:
        data: per-document counts.
        sample: tokens of the sampled documents.
        groups: origin of each document of `data` (D); None = each its own.
        generator: draws documents and folds.

    Returns:
        (what the probe reads, its rows of `data`).
    """
    sampled = len(sample.rows) and sample.documents_per_topic.min() >= MIN_DOCUMENTS_FOR_P
    rows = sample.rows if sampled else np.arange(len(data.ids))
    part = np.sort(generator.permutation(len(rows))[:MOST_DOCUMENTS])
    tokens = token_features(sample)[part] if sampled else None
    rows = rows[part]
    origins = [groups[row] if groups else data.ids[row] for row in rows]
    features = routing_features(data.counts[rows])
    folds = probe_folds(origins, generator)
    return ProbeInput(features, tokens, data.topic_ids[rows], folds), rows


def signature_probe(
    probe: ProbeInput, permuted: np.ndarray, weights: np.ndarray, origins: int
) -> pd.DataFrame:
    """Accuracy of the topic read off experts, off tokens, and off both.

    Args:
        probe: what it reads.
        permuted: (P, D) topics under permutation of whole origins, for the routing alone: folds
            keep origins together, so documents of one are not exchangeable with others.
        weights: (B, D) bootstrap weights.
        origins: number of groups that were kept together.

    Returns:
        One row per reader (`experts`, `tokens`, `both`): `accuracy` (mean over topics of the share
        of documents predicted right) with 95% `low`, `high` over documents, `gain` over tokens
        (`gain_low`, `gain_high`; NaN for tokens and where tokens are unknown), `chance` (1/T),
        `null` (mean under permutation) and `p_value` (experts only), `topics`, `documents`,
        `origins`, `permutations`. Empty when a topic has fewer than 10 documents, or all documents
        one origin; without a p below 10 origins.
    """
    sizes = np.bincount(probe.topic_ids)
    few = (sizes > 0).sum() < 2 or sizes[sizes > 0].min() < MIN_DOCUMENTS_FOR_P
    if few or origins < 2:
        return pd.DataFrame(columns=["reader", "accuracy", "gain"])
    readers: dict[str, np.ndarray | sparse.csr_array] = {"experts": probe.routing}
    if probe.tokens is not None:
        both = sparse.hstack([probe.tokens, sparse.csr_array(probe.routing)], format="csr")
        readers |= {"tokens": probe.tokens, "both": both}
    correct = {
        name: _correct(features, probe.topic_ids, probe.folds) for name, features in readers.items()
    }
    p_value, null = probe_p_value(probe, permuted)
    by_reader = []
    for name, found in correct.items():
        accuracy = _with_interval(found, probe.topic_ids, weights)
        gain = (np.nan, np.nan, np.nan)
        if name != "tokens" and "tokens" in correct:
            gain = _with_interval(found - correct["tokens"], probe.topic_ids, weights)
        own = name == "experts"
        by_reader.append(
            {
                "reader": name,
                **dict(zip(("accuracy", "low", "high"), accuracy, strict=True)),
                **dict(zip(("gain", "gain_low", "gain_high"), gain, strict=True)),
                "chance": 1 / (sizes > 0).sum(),
                "null": null.mean() if own else np.nan,
                "p_value": p_value if own and origins >= MIN_DOCUMENTS_FOR_P else np.nan,
                "topics": (sizes > 0).sum(),
                "documents": len(probe.topic_ids),
                "origins": origins,
                "permutations": len(null),
            }
        )
    return pd.DataFrame(by_reader)


def _correct(
    features: np.ndarray | sparse.csr_array, topic_ids: np.ndarray, folds: np.ndarray
) -> np.ndarray:
    """1 for each document whose topic is predicted right (D)."""
    return (predicted_topics(features, topic_ids[None], folds)[0] == topic_ids).astype(float)


def _with_interval(
    values: np.ndarray, topic_ids: np.ndarray, weights: np.ndarray
) -> tuple[float, float, float]:
    """Mean over topics of per-document values, with its bootstrap interval."""
    low, high = interval(_weighted_accuracy(values, topic_ids, weights), len(values))
    return float(balanced_accuracy(values, topic_ids)), float(low), float(high)


def _weighted_accuracy(
    correct: np.ndarray, topic_ids: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Mean over topics of the weighted mean of (D) values, in each bootstrap draw: (B)."""
    means = []
    for topic in np.unique(topic_ids):
        own = weights[:, topic_ids == topic].astype(float)
        means.append(own @ correct[topic_ids == topic] / np.maximum(own.sum(axis=1), 1))
    drawn: np.ndarray = np.mean(means, axis=0)
    return drawn


@dataclass(frozen=True)
class TopicClassifierRecord:
    """How well a document's topic can be predicted from its experts.

    Attributes:
        accuracy: `signature_probe`; empty where it cannot be trained.
    """

    accuracy: pd.DataFrame


def measure_topic_classifier(run: RunData, draws: Draws) -> TopicClassifierRecord:
    """Computes the record."""
    groups = run.group_names
    probe, rows = probe_input(run.documents, run.sample, groups, draws.generator)
    names = [groups[row] for row in rows] if groups else list(rows)
    orders = restricted_orders(draws.orders[: run.settings.probe_permutations], rows)
    permuted = topics_over_origins(names, probe.topic_ids, orders)
    weights = draws.weights[:, rows]
    return TopicClassifierRecord(signature_probe(probe, permuted, weights, len(set(names))))
