"""E3, topic information: how much an expert's name tells about the topic of its token."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ....configs.progress import progress_bar
from ...data.documents import DocumentCounts
from ...statistics.bootstrap import bootstrap_topic_sums, interval
from ...statistics.information import information_bits
from ...statistics.permutations import (
    MIN_DOCUMENTS_FOR_P,
    exact_type,
    family_wise_p,
    permutation_p,
    permuted_sums,
    topic_sums,
)
from .cells import squared_residuals, studentised

# Bands of the information as a share of log2 T. Known points: Mixtral 0.1–0.4%, an encoder
# trained on Reddit titles 0–0.7%, OLMoE 7–22%.
BANDS = ((0.005, "negligible"), (0.02, "weak"), (0.10, "moderate"), (np.inf, "strong"))


def effect_band(share: float) -> str:
    """Names the size of a topic information given as a share of log2 T."""
    return next(name for limit, name in BANDS if share < limit)


@dataclass(frozen=True)
class TopicNull:
    """What chance gives when documents swap topics.

    Attributes:
        information: (P, L) bits.
        largest_cell: (P) largest |studentised deviation| over all layers, topics and experts.
    """

    information: np.ndarray
    largest_cell: np.ndarray


def topic_null(data: DocumentCounts, permuted: np.ndarray) -> TopicNull:
    """Runs every permutation once, for the information of layers and the test of cells.

    Args:
        data: per-document counts, untouched tokens.
        permuted: (P, D) topic of each document under each permutation.
    """
    shape, topics = data.counts.shape[1:], len(data.topics)
    width = shape[0] * shape[1]
    counts = data.counts.reshape(len(data.ids), width)
    spread = squared_residuals(data.counts).reshape(len(data.ids), width)
    values = np.concatenate([counts, spread], axis=1).astype(exact_type(counts))
    information, largest = [], []
    with progress_bar("permuting documents", len(permuted), "permutations") as advance:
        for sums in permuted_sums(values, permuted, topics):
            batch = sums.astype(np.float64)
            choices = batch[..., :width].reshape(len(batch), topics, *shape)
            spreads = batch[..., width:].reshape(len(batch), topics, *shape)
            information.append(information_bits(choices))
            cells = studentised(choices, spreads, data.documents_per_topic)
            largest.append(np.abs(cells).reshape(len(batch), -1).max(axis=1))
            advance(len(batch))
    return TopicNull(np.concatenate(information), np.concatenate(largest))


def topic_information(data: DocumentCounts, null: TopicNull, weights: np.ndarray) -> pd.DataFrame:
    """Topic information of each layer, corrected for chance.

    Returns:
        One row per layer: `plug_in_bits`, `null_bits` (mean of the null) with its central 95%
        `null_low`, `null_high`, `bits` (plug-in minus null mean) with the bootstrap interval
        `low`, `high` (below 0 where the data are compatible with none; NaN where a topic has fewer
        than 3 documents), `share` of log2 T (+ `share_low`, `share_high`), `band`, `p_value`,
        `family_p_value` (over layers, by the maximum; both NaN when a topic has fewer than 10
        documents), `max_bits` (log2 T), `topics`, `documents`, `fewest_documents`, `tokens`,
        `permutations`.
    """
    topics = len(data.topics)
    observed = information_bits(topic_sums(data.counts, data.topic_ids, topics))  # (L)
    null_mean, null_sd = null.information.mean(axis=0), null.information.std(axis=0)
    bits = observed - null_mean
    low, high = _interval(data, weights, bits)
    null_low, null_high = np.quantile(null.information, [0.025, 0.975], axis=0)
    p_value, family_p = np.full(observed.shape, np.nan), np.full(observed.shape, np.nan)
    if topics > 1 and data.documents_per_topic.min() >= MIN_DOCUMENTS_FOR_P:
        scale = np.where(null_sd > 0, null_sd, 1)
        p_value = permutation_p(observed, null.information)
        family_p = family_wise_p(bits / scale, (null.information - null_mean) / scale)
    max_bits = np.log2(topics) if topics > 1 else np.nan
    return pd.DataFrame(
        {
            "layer": data.layers,
            "plug_in_bits": observed,
            "null_bits": null_mean,
            "null_low": null_low,
            "null_high": null_high,
            "bits": bits,
            "low": low,
            "high": high,
            "share": bits / max_bits,
            "share_low": low / max_bits,
            "share_high": high / max_bits,
            "band": [effect_band(x) if topics > 1 else "none" for x in bits / max_bits],
            "p_value": p_value,
            "family_p_value": family_p,
            "max_bits": max_bits,
            "topics": topics,
            "documents": len(data.ids),
            "fewest_documents": int(data.documents_per_topic.min()),
            "tokens": int(data.tokens.sum()),
            "permutations": len(null.information),
        }
    )


def _interval(
    data: DocumentCounts, weights: np.ndarray, bits: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Bootstrap interval of the corrected information (L).

    Resampling documents adds its own upward bias, so the draws are centred on the estimate. A draw
    that lacks a topic knows no information about it and is left out.
    """
    flat, topics = data.counts.reshape(len(data.ids), -1), len(data.topics)
    sums = bootstrap_topic_sums(flat, data.topic_ids, topics, weights)
    draws = sums.reshape(len(weights), topics, *data.counts.shape[1:])
    held = (draws.sum(axis=-1) > 0).all(axis=1)  # (B, L)
    drawn = np.where(held, information_bits(draws), np.nan)
    mean = np.where(held, drawn, 0).sum(axis=0) / np.maximum(held.sum(axis=0), 1)
    return interval(drawn - mean + bits, int(data.documents_per_topic.min()))
