"""E7, covariates: position, length, source, script and language on the scale of the topic.

What differs between topics beside their content explains routing, too. Each covariate is held
against itself exchanged between groups, and the topic is tested once more among groups of like
length, on what the position of tokens leaves of their experts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...data.documents import DocumentCounts
from ...data.languages import UNKNOWN
from ...data.run import RunData
from ...data.sample import TokenSample
from ...statistics.classifier import group_folds, read_labels, unit_kernel
from ...statistics.draws import Draws
from ...statistics.null_test import permutation_p
from ...statistics.profiles import summed_choices
from ...statistics.residuals import residual_shares
from ...statistics.strata import (
    explained_entropy,
    movable_share,
    position_entropy,
    quantile_strata,
    stratified_labels,
)
from ...statistics.units import MIN_GROUPS_FOR_P, group_units

BINS = 5  # of length, and of position
FEWEST_GROUPS = 5  # of a value; rarer ones are left out
MOST_PERMUTATIONS = 199  # for the mean and the range of a null
MOST_UNITS = 1_000  # of the test within strata
LEAST_MOVABLE = 0.5  # of the groups: below, length and topic cannot be told apart


def document_values(data: DocumentCounts, covariates: pd.DataFrame | None) -> dict[str, np.ndarray]:
    """Values of each document (D) by covariate: length in bins of tokens, and what is known.

    Args:
        data: per-document counts.
        covariates: columns by document id; None = nothing but the length.
    """
    bins = quantile_strata(data.tokens, BINS)
    values = {"length": np.array([f"length {number}" for number in bins], dtype=object)}
    if covariates is not None:
        own = covariates.reindex(data.ids)
        own = own.where(own != UNKNOWN)
        values |= {str(name): own[name].to_numpy(dtype=object) for name in own.columns}
    return values


def covariate_information(
    data: DocumentCounts,
    groups: Sequence[str],
    values: dict[str, np.ndarray],
    permutations: int,
    generator: np.random.Generator,
) -> pd.DataFrame:
    """How much of the routing each covariate of the documents explains: Theil's U, corrected.

    Units are the documents that a group has of one value, each with its mean shares; values are
    permuted over units. Values of fewer than five groups are left out, covariates with one value.

    Returns:
        One row per covariate and layer: `by`, `layer`, `share` (U less its null mean), `null_high`
        (97.5% of the null, less its mean), `values`, `groups`, `documents`.
    """
    shares = data.counts / np.maximum(data.counts.sum(axis=-1, keepdims=True), 1)
    records = []
    for by, column in values.items():
        known = np.flatnonzero(pd.notna(column))
        names = pd.factorize(column[known])[0]
        if not len(known):
            continue
        units = group_units([groups[row] for row in known.tolist()], names, int(names.max()) + 1)
        enough = units.per_topic >= FEWEST_GROUPS
        if enough.sum() < 2:
            continue
        kept = enough[units.topics]
        labels = pd.factorize(units.topics[kept])[0]
        sums = units.sums(shares[known].reshape(len(known), -1))
        means = (sums / np.bincount(units.of_documents)[:, None])[kept]
        orders = np.array([generator.permutation(len(labels)) for _ in range(permutations)])
        every = np.concatenate([labels[None], labels[orders]])
        bits, total = explained_entropy(means, every, data.num_experts)
        sizes = {"values": int(enough.sum()), "groups": len(labels)}
        documents = int(kept[units.of_documents].sum())
        records += _rows(by, data.layers, bits, total, documents=documents, **sizes)
    return pd.DataFrame(records)


def _rows(
    by: str, layers: Sequence[int], bits: np.ndarray, total: np.ndarray, **sizes: int
) -> list[dict[str, object]]:
    """Rows of one covariate from bits (1 + P, L), observed first, and H(e) (L)."""
    safe = np.where(total > 0, total, np.nan)
    mean, high = bits[1:].mean(axis=0), np.quantile(bits[1:], 0.975, axis=0)
    return [
        {
            "by": by,
            "layer": layer,
            "share": (bits[0] - mean)[place] / safe[place],
            "null_high": (high - mean)[place] / safe[place],
            **sizes,
        }
        for place, layer in enumerate(layers)
    ]


def position_information(
    sample: TokenSample, groups: np.ndarray, permutations: int, generator: np.random.Generator
) -> pd.DataFrame:
    """The same for the position of a token, bins exchanged within each group.

    Args:
        sample: untouched tokens of the sampled documents.
        groups: (S) number of each sampled document's group, from 0.
        permutations: of the null.
        generator: draws them.
    """
    bins = quantile_strata(sample.positions, BINS)
    number, width = int(groups.max(initial=-1)) + 1, int(bins.max(initial=0)) + 1
    if number < FEWEST_GROUPS or width < 2:
        return pd.DataFrame()
    cells = groups[sample.documents] * width + bins
    ones = np.ones(len(cells))
    choices = summed_choices(sample.experts, cells, number * width, sample.num_experts, ones)
    counts = choices.reshape(number, width, len(sample.layers), sample.num_experts)
    bits = position_entropy(counts, generator, permutations)
    total = explained_entropy(
        counts.sum(axis=1).reshape(number, -1), np.zeros((1, number), np.int64), sample.num_experts
    )[1]
    sizes = {"values": width, "groups": number, "documents": len(sample.rows)}
    return pd.DataFrame(_rows("position", sample.layers, bits, total, **sizes))


@dataclass(frozen=True)
class WithinStrata:
    """The topic, tested among groups of like length on what position leaves of the experts.

    Attributes:
        p_value: of the mean lead of a group's topic in cross-validation, studentised, against
            topics permuted among groups of like length; NaN below 10 groups in a topic.
        movable: share of the groups whose length has another topic, too.
        groups: how many groups of a topic there are, in all.
        strata: of length.
    """

    p_value: float
    movable: float
    groups: int
    strata: int

    @property
    def can_be_told(self) -> bool:
        """Whether topics and lengths overlap enough to tell them apart."""
        return self.movable >= LEAST_MOVABLE


def topic_within_strata(
    sample: TokenSample,
    groups: Sequence[str],
    permutations: int,
    generator: np.random.Generator,
) -> WithinStrata | None:
    """Reads topics off the experts that positions do not explain, length held fixed.

    Args:
        sample: untouched tokens of the sampled documents.
        groups: (S) group of each sampled document.
        permutations: P.
        generator: draws units, folds and permutations.

    Returns:
        None with fewer than two topics of two groups.
    """
    units = group_units(groups, sample.topic_ids, int(sample.topic_ids.max(initial=0)) + 1)
    drawn = np.sort(generator.permutation(len(units.topics))[:MOST_UNITS])
    numbers, labels = units.groups, np.zeros(len(units.topics), np.int64)
    labels[drawn] = np.unique(units.topics[drawn], return_inverse=True)[1]
    sizes = np.bincount(labels[drawn])
    if len(sizes) < 2 or sizes.min() < 2 or len(np.unique(numbers[drawn])) < 2:
        return None
    own = units.of_documents[sample.documents]
    bins = quantile_strata(sample.positions, 4 * BINS)
    residuals = residual_shares(sample.experts, bins, own, units, sample.num_experts)[drawn]
    lengths = np.bincount(own, minlength=len(units.topics)) / np.bincount(units.of_documents)
    strata = quantile_strata(lengths[drawn], BINS)
    every = stratified_labels(labels[drawn], strata, permutations, generator)
    folds = group_folds(numbers[drawn], generator)
    spread = residuals.std(axis=0)
    kernel = unit_kernel([residuals / np.where(spread > 1e-12, spread, np.inf)])
    found = read_labels(kernel, folds, every)
    p_value = np.nan
    if sizes.min() >= MIN_GROUPS_FOR_P:
        p_value = float(permutation_p(np.array(found.statistic), found.null_statistic))
    movable = movable_share(labels[drawn], strata)
    return WithinStrata(p_value, movable, len(drawn), int(strata.max()) + 1)


@dataclass(frozen=True)
class CovariatesRecord:
    """What else the routing may go by.

    Attributes:
        explained: `covariate_information` and `position_information`, with topic, token class and
            token of the chapter on form beside them (`share` alone).
        within: `topic_within_strata`; None where it cannot be tested.
        derived: how the topics were derived from the texts (nmf, kmeans); None = they were given.
    """

    explained: pd.DataFrame
    within: WithinStrata | None
    derived: str | None


def measure_covariates(
    run: RunData, draws: Draws, forms: pd.DataFrame | None = None
) -> CovariatesRecord:
    """Computes the record."""
    data, sample, generator = run.documents, run.sample, draws.generator
    groups = run.group_names or data.ids
    fewer = min(draws.permutations, MOST_PERMUTATIONS)
    values = document_values(data, run.covariates)
    parts = [covariate_information(data, groups, values, fewer, generator)]
    within = None
    if len(sample.rows):
        own = [groups[row] for row in sample.rows]
        numbers = np.unique(np.asarray(own, dtype=str), return_inverse=True)[1]
        parts.append(position_information(sample, numbers, fewer, generator))
        within = topic_within_strata(sample, own, draws.permutations, generator)
    if forms is not None:
        beside = forms[forms.by.isin(["topic", "token class", "token"])]
        parts.insert(0, beside[["by", "layer", "share", "values"]])
    return CovariatesRecord(
        pd.concat([part for part in parts if len(part)], ignore_index=True), within, _derived(run)
    )


def _derived(run: RunData) -> str | None:
    manifest = (run.manifests or {}).get("corpus")
    settings = manifest.config["corpus"] if manifest else {}
    how = settings.get("topics", {}).get("derive", "none")  # older manifests lack it
    return None if how == "none" else str(how)
