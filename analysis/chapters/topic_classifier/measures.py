"""E6: can the topic of a text be read off its experts, and do they say more than its words?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from ...data.run import RunData
from ...data.sample import TokenSample
from ...statistics.classifier import (
    accuracy_interval,
    balanced_accuracy,
    change_interval,
    group_folds,
    read_gain,
    read_labels,
    unit_kernel,
)
from ...statistics.draws import Draws
from ...statistics.null_test import permutation_p
from ...statistics.permutations import document_orders, topic_sums
from ...statistics.residuals import residual_shares
from ...statistics.units import MIN_GROUPS_FOR_P, group_units

MOST_UNITS = 1_000  # a fold's smoother grows with the square of their number


@dataclass(frozen=True)
class ClassifierInput:
    """What the classifier reads, one row per unit: the documents of a group in one topic.

    Attributes:
        shares: (U, L·E) expert shares, mean over the unit's documents.
        words: (U, X) log token counts, rows of length 1; None = not known.
        residuals: (U, L·E) shares less what the words make expect; None = not known.
        topic_ids: (U) from 0, each topic with a unit.
        groups: (U) group of each unit; it lies in one fold.
        documents: how many documents the units hold.
    """

    shares: np.ndarray
    words: sparse.csr_array | None
    residuals: np.ndarray | None
    topic_ids: np.ndarray
    groups: np.ndarray
    documents: int


def expert_shares(counts: np.ndarray, units: np.ndarray, number: int) -> np.ndarray:
    """Expert shares of documents (D, L, E), mean over the documents of each unit: (U, L·E).

    Shares, and no roots or logs of them, have the same mean whatever the document's length.
    """
    shares = counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1)
    sums = topic_sums(shares.reshape(len(counts), -1), units, number)
    means: np.ndarray = sums / np.bincount(units, minlength=number)[:, None]
    return means


def word_features(types: np.ndarray, units: np.ndarray, number: int) -> sparse.csr_array:
    """Logs of 1 + token counts of each unit, rows of length 1: (U, X)."""
    shape = number, int(types.max(initial=-1)) + 1
    bag = sparse.csr_array((np.ones(len(types)), (units, types)), shape)
    bag.sum_duplicates()
    bag.data = np.log1p(bag.data)
    lengths = np.sqrt(bag.multiply(bag).sum(axis=1))
    return sparse.csr_array(sparse.diags_array(1 / np.maximum(lengths, 1e-12)) @ bag)


def classifier_input(
    counts: np.ndarray,
    topic_ids: np.ndarray,
    groups: Sequence[str],
    sample: TokenSample | None,
    generator: np.random.Generator,
) -> ClassifierInput:
    """Gathers documents by group and topic; of more than 1,000 units, as many are drawn.

    Args:
        counts: (D, L, E) choices of each document; with a sample, of its documents.
        topic_ids: (D).
        groups: (D) group of each document.
        sample: the same documents token by token; None = not known.
        generator: draws the units.
    """
    units = group_units(groups, topic_ids, int(topic_ids.max()) + 1)
    number = len(units.topics)
    shares = expert_shares(counts, units.of_documents, number)
    words = residuals = None
    if sample is not None:
        own = units.of_documents[sample.documents]
        words = word_features(sample.types, own, number)
        residuals = residual_shares(sample.experts, sample.types, own, units, sample.num_experts)
    drawn = np.sort(generator.permutation(number)[:MOST_UNITS])
    _, topics = np.unique(units.topics[drawn], return_inverse=True)
    return ClassifierInput(
        shares=shares[drawn],
        words=None if words is None else words[drawn],
        residuals=None if residuals is None else residuals[drawn],
        topic_ids=topics,
        groups=units.groups[drawn],
        documents=int(np.isin(units.of_documents, drawn).sum()),
    )


def topic_classifier(
    read: ClassifierInput, permutations: int, generator: np.random.Generator
) -> pd.DataFrame:
    """Accuracy of the topic read off experts, off words, and off words and what experts add.

    Args:
        read: what it reads.
        permutations: P, behind each p-value.
        generator: draws folds and permutations.

    Returns:
        One row per reader (`experts`, `words`, `both`): `accuracy` (mean over topics of the share
        of units predicted right in cross-validation) with 95% `low`, `high`, `chance` (1/T),
        `null` (mean accuracy of permuted topics; experts and words), `p_value` (experts: the mean
        lead of a unit's topic over the others, studentised, against permuted topics; both: the
        same of what the experts' residuals add, against residuals of other units),
        `gain` (both: accuracy over that of words, less `null_gain`, what such residuals of other
        units add) with `gain_low`, `gain_high`; `topics`, `units`, `fewest_units` (of a topic),
        `groups`, `documents`, `permutations`. Without a p where a topic has fewer than 10 units.
        Empty for one topic, a topic of one unit, or one group.
    """
    sizes = np.bincount(read.topic_ids)
    groups = len(np.unique(read.groups))
    if len(sizes) < 2 or sizes.min() < 2 or groups < 2:
        return pd.DataFrame(columns=["reader", "accuracy", "gain"])
    folds = group_folds(read.groups, generator)
    orders = document_orders(generator, len(read.topic_ids), permutations)
    labels = np.concatenate([read.topic_ids[None], read.topic_ids[orders]])
    testable = sizes.min() >= MIN_GROUPS_FOR_P
    kernels = {"experts": unit_kernel([_standardised(read.shares)])}
    if read.words is not None:
        kernels["words"] = unit_kernel([read.words.toarray()])
    records = []
    for reader, kernel in kernels.items():
        found = read_labels(kernel, folds, labels)
        tested = testable and reader == "experts"
        records.append(
            {
                "reader": reader,
                **_accuracy(found.correct, read.topic_ids),
                "null": found.null_accuracy.mean(),
                "p_value": _p(found.statistic, found.null_statistic, tested),
            }
        )
    if read.words is not None and read.residuals is not None:
        residuals = unit_kernel([_standardised(read.residuals)])
        added = read_gain(kernels["words"], residuals, folds, read.topic_ids, orders)
        change, null = added.both.astype(float) - added.base, float(added.null_gain.mean())
        gain = float(balanced_accuracy(change[None], read.topic_ids[None], len(sizes))[0])
        low, high = change_interval(change, read.topic_ids)
        records.append(
            {
                "reader": "both",
                **_accuracy(added.both, read.topic_ids),
                "p_value": _p(added.statistic, added.null_statistic, testable),
                "gain": gain - null,
                "gain_low": low - null,
                "gain_high": high - null,
                "null_gain": null,
            }
        )
    columns = ["reader", "accuracy", "low", "high", "null", "p_value", "gain", "gain_low"]
    return pd.DataFrame(records, columns=[*columns, "gain_high", "null_gain"]).assign(
        chance=1 / len(sizes),
        topics=len(sizes),
        units=len(read.topic_ids),
        fewest_units=int(sizes.min()),
        groups=groups,
        documents=read.documents,
        permutations=permutations,
    )


def _standardised(features: np.ndarray) -> np.ndarray:
    """Features in standard deviations; those that do not vary are 0."""
    centred, spread = features - features.mean(axis=0), features.std(axis=0)
    return np.divide(centred, spread, out=np.zeros(centred.shape), where=spread > 1e-12)


def _accuracy(correct: np.ndarray, topic_ids: np.ndarray) -> dict[str, float]:
    number = int(topic_ids.max()) + 1
    low, high = accuracy_interval(correct, topic_ids)
    share = balanced_accuracy(correct[None].astype(float), topic_ids[None], number)[0]
    return {"accuracy": float(share), "low": low, "high": high}


def _p(statistic: float, null: np.ndarray, testable: bool) -> float:
    return float(permutation_p(np.array(statistic), null)) if testable else np.nan


@dataclass(frozen=True)
class TopicClassifierRecord:
    """How well a text's topic can be predicted from its experts.

    Attributes:
        accuracy: `topic_classifier`; empty where it cannot be trained.
    """

    accuracy: pd.DataFrame


def measure_topic_classifier(run: RunData, draws: Draws) -> TopicClassifierRecord:
    """Computes the record, on the documents kept token by token where all topics have enough."""
    data, sample = run.documents, run.sample
    sampled = len(sample.rows) and sample.documents_per_topic.min() >= MIN_GROUPS_FOR_P
    rows = sample.rows if sampled else np.arange(len(data.ids))
    names = run.group_names or data.ids
    read = classifier_input(
        data.counts[rows],
        data.topic_ids[rows],
        [names[row] for row in rows],
        sample if sampled else None,
        draws.generator,
    )
    return TopicClassifierRecord(topic_classifier(read, draws.permutations, draws.generator))
