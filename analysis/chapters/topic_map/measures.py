"""E5, topic map: which topics are routed alike, in units of what chance makes of one topic."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from ...data.documents import DocumentCounts
from ...data.run import RunData
from ...statistics.draws import Draws
from ...statistics.information import divergence_bits
from ...statistics.welch import group_weights

SPLITS = 20  # random halves of every topic's groups
MOST_POINTS = 2_000  # documents in the scatter


def topic_map(data: DocumentCounts, generator: np.random.Generator) -> pd.DataFrame:
    """Jensen–Shannon distance between topics, and between random halves of one topic.

    Both from halves of the groups, so that equal topics have the same distance as two halves
    of one of them, whatever the number of groups.

    Returns:
        One row per layer and pair of different topics, both ways: `distance` (square root of the
        mean divergence in bits, 0 to 1), `ceiling` (the same between halves of one topic, mean of
        the two topics), `ratio` of the two (1 = no further apart than chance), `groups` and
        `other_groups`, `splits`. Empty when a topic has fewer than two groups.
    """
    columns = ["layer", "topic", "other", "distance", "ceiling", "ratio"]
    if len(data.topics) < 2 or data.units.per_topic.min() < 2:
        return pd.DataFrame(columns=columns)
    halves = _halves(data, generator)
    found = [_divergences(data, layer, halves) for layer in range(len(data.layers))]
    within = np.stack([x for x, _ in found], axis=-1)  # (T, L)
    between = np.stack([x for _, x in found], axis=-1)  # (T, T, L)
    distance = np.sqrt((between + between.swapaxes(0, 1)) / 2)
    ceiling = np.sqrt((within[:, None] + within[None]) / 2)
    safe = np.where(ceiling > 0, ceiling, np.nan)
    sizes = data.units.per_topic
    return pd.DataFrame(
        [
            {
                "layer": layer,
                "topic": data.topics[topic],
                "other": data.topics[other],
                "distance": distance[topic, other, position],
                "ceiling": ceiling[topic, other, position],
                "ratio": distance[topic, other, position] / safe[topic, other, position],
                "groups": sizes[topic],
                "other_groups": sizes[other],
                "splits": SPLITS,
            }
            for position, layer in enumerate(data.layers)
            for topic in range(len(data.topics))
            for other in range(len(data.topics))
            if topic != other
        ]
    )


def _halves(data: DocumentCounts, generator: np.random.Generator) -> np.ndarray:
    """Random halves of every topic's groups: (H, U), 0 or 1, and −1 for an odd one left over."""
    units = data.units
    halves = np.full((SPLITS, len(units.topics)), -1, np.int8)
    for split in range(SPLITS):
        for topic in range(units.num_topics):
            mixed = generator.permutation(np.flatnonzero(units.topics == topic))
            size = len(mixed) // 2
            halves[split, mixed[:size]] = 0
            halves[split, mixed[size : 2 * size]] = 1
    return halves


def _divergences(
    data: DocumentCounts, layer: int, halves: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean divergences of one layer: of halves of one topic (T), and of two topics (T, T).

    A group counts by its tokens, up to those of the median group.
    """
    units, topics = data.units, data.units.num_topics
    tokens = units.sums(data.tokens)
    weight = group_weights(tokens) / np.maximum(tokens, 1)
    choices = units.sums(data.counts[:, layer]) * weight[:, None]
    within, between = np.zeros(topics), np.zeros((topics, topics))
    for split in halves:
        kept = np.flatnonzero(split >= 0)
        rows = split[kept].astype(np.int64) * topics + units.topics[kept]
        shape = 2 * topics, len(split)
        sums = sparse.csr_array((np.ones(len(kept)), (rows, kept)), shape) @ choices
        sums = sums.reshape(2, topics, -1)
        first, second = sums / np.maximum(sums.sum(axis=-1, keepdims=True), 1e-12)
        within += divergence_bits(first, second) / len(halves)
        between += divergence_bits(first[:, None], second[None]) / len(halves)
    return within, between


def topic_order(topic_distances: pd.DataFrame) -> list[str]:
    """Orders topics so that those routed alike stand side by side (average linkage, all layers)."""
    mean = topic_distances.pivot_table(index="topic", columns="other", values="distance")
    matrix = mean.to_numpy(dtype=float, copy=True)
    np.fill_diagonal(matrix, 0)
    if len(matrix) < 3:
        return list(mean.index)
    condensed = squareform((matrix + matrix.T) / 2, checks=False)
    tree = hierarchy.linkage(condensed, "average", optimal_ordering=True)
    return [str(mean.index[leaf]) for leaf in hierarchy.leaves_list(tree)]


def document_points(data: DocumentCounts, generator: np.random.Generator) -> pd.DataFrame:
    """Documents in two dimensions, by layer: PCA of the square roots of their expert shares.

    The square root makes Euclidean distance that of Hellinger, so rare experts count.

    Returns:
        One row per layer and document (at most 2,000, drawn at random): `topic`, `id`, `x`, `y`,
        `x_share`, `y_share` (of the variance), `tokens`. Empty with fewer than three documents.
    """
    chosen = np.sort(generator.permutation(len(data.ids))[:MOST_POINTS])
    if len(chosen) < 3 or data.num_experts < 2:
        return pd.DataFrame(columns=["layer", "topic", "id", "x", "y"])
    frames = []
    for position, layer in enumerate(data.layers):
        counts = data.counts[chosen, position].astype(float)
        roots = np.sqrt(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))
        left, sizes, right = np.linalg.svd(roots - roots.mean(axis=0), full_matrices=False)
        signs = np.sign(right[:2].sum(axis=1) + 1e-12)  # the sign of an axis is arbitrary
        places = left[:, :2] * sizes[:2] * signs
        variance = sizes**2 / max((sizes**2).sum(), 1e-30)
        frames.append(
            pd.DataFrame(
                {
                    "layer": layer,
                    "topic": [data.topics[topic] for topic in data.topic_ids[chosen]],
                    "id": [data.ids[row] for row in chosen],
                    "x": places[:, 0],
                    "y": places[:, 1],
                    "x_share": variance[0],
                    "y_share": variance[1],
                    "tokens": data.tokens[chosen],
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


@dataclass(frozen=True)
class TopicMapRecord:
    """Which topics are routed alike.

    Attributes:
        topic_map: `topic_map`.
        points: `document_points`.
    """

    topic_map: pd.DataFrame
    points: pd.DataFrame


def measure_topic_map(run: RunData, draws: Draws) -> TopicMapRecord:
    """Computes the record."""
    data = run.documents
    return TopicMapRecord(topic_map(data, draws.generator), document_points(data, draws.generator))
