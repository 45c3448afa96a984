"""E4, topic beyond vocabulary: do the same tokens go elsewhere in another topic?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...data.run import RunData
from ...data.sample import TokenSample
from ...statistics.draws import Draws
from ...statistics.label_test import label_test
from ...statistics.null_test import null_test
from ...statistics.residuals import TypeCells, expected_choices, type_cells
from ...statistics.units import MIN_GROUPS_FOR_P, Units, group_units, permuted_labels
from ...statistics.welch import residual_moments
from .bracket import word_bracket


def beyond_vocabulary(
    sample: TokenSample,
    groups: Sequence[str] | None,
    permutations: int,
    generator: np.random.Generator,
) -> pd.DataFrame:
    """Tests for topic routing that tokens do not explain, and brackets what they do.

    Only tokens of types that at least five groups use are looked at. A group's choices are held
    against what its types do in all other groups; what is left is compared by topic
    (`welch.welch_statistic`), with topics permuted over groups. A second form holds the pair of
    previous and current token fixed, so that collocation is not taken for topic.

    Args:
        sample: untouched tokens of the sampled documents.
        groups: of each sampled document (S); None = each its own.
        permutations: P.
        generator: draws them.

    Returns:
        One row per layer: `ratio` of the statistic to its null mean, with the null's central 95%
        `null_low`, `null_high`, `p_value`, `family_p_value` (over layers), `q_value`, `coverage`
        (share of tokens tested), `overlap` of the topics' types (0 to 1), `comparable` (whether
        both reach a fifth; if not, nothing can be told and every p is NaN, as when a topic has
        fewer than 10 groups), the same of the second form under `pair_…`; `bits` of topic
        information in the sample, and those that the token mix alone reproduces: `upper_bits`
        (types as routed in all documents) and `lower_bits` (as routed in other topics only), the
        same as shares of `bits` (`upper_share`, `lower_share`; NaN where `bits` is not positive)
        with 95% intervals (`upper_share_low`, `upper_share_high`, `lower_share_low`,
        `lower_share_high`; NaN below five groups in a topic),
        `max_bits` (log2 T), `topics`, `groups`, `fewest_groups`, `grouped`, `documents`, `tokens`,
        `permutations`. Empty when fewer than two topics are sampled.
    """
    if len(np.unique(sample.topic_ids)) < 2:
        return pd.DataFrame(columns=["layer", "p_value", "family_p_value"])
    topics = len(sample.topics)
    names: Sequence[object] = range(len(sample.rows)) if groups is None else groups
    units = group_units(names, sample.topic_ids, topics)
    pairs = _pairs(sample)
    labels = permuted_labels(units, permutations, generator)
    return pd.DataFrame(
        {
            "layer": sample.layers,
            **_form(sample, sample.types, units, labels),
            **{f"pair_{name}": x for name, x in _form(sample, pairs, units, labels).items()},
            **word_bracket(sample, names, generator),
            "max_bits": np.log2(topics),
            "topics": topics,
            "groups": units.num_groups,
            "fewest_groups": int(units.per_topic.min()),
            "grouped": groups is not None,
            "documents": len(sample.rows),
            "tokens": len(sample.types),
            "permutations": permutations,
        }
    )


def _pairs(sample: TokenSample) -> np.ndarray:
    """Numbers the pairs of previous and current type (N); a gap before a token is a type, too."""
    follows = np.zeros(len(sample.types), dtype=bool)
    same = sample.documents[1:] == sample.documents[:-1]
    follows[1:] = same & (np.diff(sample.positions) == 1)
    previous = np.where(follows, np.roll(sample.types, 1), -1)
    keys = (previous + 1) * (int(sample.types.max(initial=0)) + 1) + sample.types
    numbers: np.ndarray = np.unique(keys, return_inverse=True)[1]
    return numbers


def _form(
    sample: TokenSample, types: np.ndarray, units: Units, labels: np.ndarray
) -> dict[str, np.ndarray | float | bool]:
    """The test with one kind of type held fixed, each (L)."""
    cells = type_cells(types, units.of_documents[sample.documents], units)
    statistics = np.stack(
        [_statistic(sample, layer, cells, units, labels) for layer in range(len(sample.layers))],
        axis=1,
    )  # (P + 1, L)
    held = np.bincount(units.topics[cells.tokens > 0], minlength=units.num_topics)
    enough = units.suffice and int(held.min()) >= MIN_GROUPS_FOR_P
    test = null_test(statistics[0], statistics[1:], testable=enough and cells.comparable)
    mean = np.where(test.mean > 0, test.mean, 1)
    return {
        "ratio": statistics[0] / mean,
        "null_low": test.low / mean,
        "null_high": test.high / mean,
        "p_value": test.p_value,
        "family_p_value": test.family_p_value,
        "q_value": test.q_value,
        "coverage": cells.coverage,
        "overlap": cells.overlap,
        "comparable": cells.comparable,
    }


def _statistic(
    sample: TokenSample, layer: int, cells: TypeCells, units: Units, labels: np.ndarray
) -> np.ndarray:
    """The statistic of a layer as it is and under each permutation (P + 1)."""
    observed, expected = expected_choices(cells, sample.experts[:, layer], sample.num_experts)
    moments = residual_moments(observed, expected, cells.tokens)
    return label_test(moments, labels, units.num_topics).statistic


@dataclass(frozen=True)
class ContextRecord:
    """What topics add to the tokens themselves.

    Attributes:
        beyond: `beyond_vocabulary`; empty where nothing is kept token by token.
        information: topic information of each layer (`topics.information.topic_information`).
    """

    beyond: pd.DataFrame
    information: pd.DataFrame


def measure_context(run: RunData, draws: Draws, information: pd.DataFrame) -> ContextRecord:
    """Computes the record."""
    sample, groups = run.sample, run.documents.groups
    sampled = None if groups is None else [groups[row] for row in sample.rows]
    beyond = beyond_vocabulary(sample, sampled, draws.permutations, draws.generator)
    return ContextRecord(beyond, information)


def context_by_layer(record: ContextRecord) -> pd.DataFrame:
    """The numbers of each layer that a summary holds."""
    if record.beyond.empty:
        return pd.DataFrame({"layer": record.information.layer, "beyond_p_value": np.nan})
    names = {"family_p_value": "beyond_p_value"}
    return record.beyond[["layer", *names]].rename(columns=names)
