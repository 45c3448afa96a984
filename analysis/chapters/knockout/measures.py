"""E13, knock-out: what losing a topic's expert costs that topic, the others, and by chance."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...data.documents import DocumentCounts, rows_of
from ...data.run import RunData
from ...statistics.contrasts import (
    own_weights,
    relabelled_p,
    specificity_weights,
    standardised_within,
    topic_contrasts,
    topic_draws,
    topic_moments,
)
from ...statistics.draws import Draws
from ...statistics.units import group_units

CHOSEN, CONTROL = "chosen", "control"
ENOUGH_CONTROLS = 20  # of a layer, to hold its chosen experts against them alone
RELABELLINGS = 1_999  # at least: with 20 controls p is near the 5% that it must not exceed
FEWEST_TO_SCALE = 5  # experts of a layer whose standard deviation means something


@dataclass(frozen=True)
class KnockoutLosses:
    """Change of loss when an expert is taken away, nats per label, positive = worse.

    Attributes:
        experts: (layer, expert) of each knock-out (K).
        changes: (K, U) by unit, the mean over the documents that a group has in a topic; paired
            with the loss of the whole model.
        topic_ids: (U) topic of each unit.
        topics: names of the topics that have a measured document (T).
        documents: (T) measured documents of each topic.
    """

    experts: list[tuple[int, int]]
    changes: np.ndarray
    topic_ids: np.ndarray
    topics: tuple[str, ...]
    documents: np.ndarray


def knockout_losses(
    knockout: pd.DataFrame,
    documents: pd.DataFrame,
    data: DocumentCounts,
    groups: Sequence[str] | None = None,
) -> KnockoutLosses:
    """Puts knockout.parquet into a matrix, documents of a group and topic together.

    Args:
        knockout: knockout.parquet.
        documents: documents.parquet, which names the documents.
        data: per-document counts.
        groups: (D) group of each document of `data`; None = each its own.
    """
    frame = knockout.drop_duplicates(["layer", "expert", "document"])
    table = (
        frame.assign(row=rows_of(frame["document"].to_numpy(), documents, data))
        .query("row >= 0")
        .pivot_table(index=["layer", "expert"], columns="row", values="loss_change")
    )
    table = table.dropna(axis=1)
    measured = table.columns.to_numpy(dtype=np.int64)
    experts = [(int(layer), int(expert)) for layer, expert in table.index]
    present, topic_ids = np.unique(data.topic_ids[measured], return_inverse=True)
    own = [(groups or data.ids)[row] for row in measured.tolist()]
    units = group_units(own, topic_ids, len(present))
    sizes = np.bincount(units.of_documents)[:, None]
    return KnockoutLosses(
        experts=experts,
        changes=(units.sums(table.to_numpy(dtype=float).T) / sizes).T,
        topic_ids=units.topics,
        topics=tuple(data.topics[topic] for topic in present),
        documents=np.bincount(topic_ids, minlength=len(present)),
    )


@dataclass(frozen=True)
class Controls:
    """Chosen experts and controls that are alike but for the choice.

    Attributes:
        strata: (K) a stratum of each knock-out; labels are exchanged within it.
        scales: (K) within which specificities are standardised: a layer's experts.
    """

    strata: np.ndarray
    scales: np.ndarray


def control_strata(layers: np.ndarray, chosen: np.ndarray) -> Controls:
    """Sorts knock-outs (K) by layer; layers of fewer than 20 controls join.

    Args:
        layers: (K).
        chosen: (K) whether a knock-out is one of a topic's.
    """
    numbers, place = np.unique(layers, return_inverse=True)
    controls = np.bincount(place, ~chosen, len(numbers))
    small = controls < ENOUGH_CONTROLS
    strata = np.where(small[place], -1, place)
    joined = np.bincount(place)[small]
    scalable = not len(joined) or joined.min() >= FEWEST_TO_SCALE
    return Controls(strata, place if scalable else strata)


def knockout_effects(
    losses: KnockoutLosses,
    chosen: pd.DataFrame,
    permutations: int,
    generator: np.random.Generator,
) -> pd.DataFrame:
    """What each topic loses with the expert that was chosen for it.

    Args:
        losses: of chosen experts and controls.
        chosen: `layer, expert, topic_id` of each pair; all other knock-outs are controls.
        permutations: resamplings and relabellings behind intervals and p-values.
        generator: draws them.

    Returns:
        One row per pair: `layer`, `expert`, `topic`, `effect` (mean over the topic's groups, nats
        per label), `other_effect` (mean of the other topics), `specificity` = effect −
        other_effect; effect and specificity with 95% intervals (`low`, `high`, `specificity_low`,
        `specificity_high`) and p-values (`p_value`, `specificity_p_value`; one-sided, family-wise
        over the pairs) by one bootstrap-t over groups; `control_specificity` (mean of the controls
        for the same topic), their central 95% `control_low`, `control_high`, and
        `control_p_value` (chosen experts exchanged with controls, step-down family-wise) with the
        smallest that it could be, `control_smallest_p`; `controls`; `groups` and `documents` of
        the topic, `fewest_groups` of any. No p of either below 10 groups in a topic.
    """
    place = {pair: row for row, pair in enumerate(losses.experts)}
    pairs = np.array([place[int(layer), int(x)] for layer, x in chosen[["layer", "expert"]].values])
    own, topics = chosen["topic_id"].to_numpy(np.int64), len(losses.topics)
    draws = topic_draws(losses.topic_ids, permutations, generator)
    values = losses.changes[pairs].T
    effect = topic_contrasts(values, losses.topic_ids, own_weights(own, topics), draws)
    special = topic_contrasts(values, losses.topic_ids, specificity_weights(own, topics), draws)
    (low, high), (special_low, special_high) = effect.intervals(), special.intervals()
    units = np.bincount(losses.topic_ids, minlength=topics)
    frame = pd.DataFrame(
        {
            "layer": [losses.experts[row][0] for row in pairs],
            "expert": [losses.experts[row][1] for row in pairs],
            "topic": [losses.topics[topic] for topic in own],
            "effect": effect.estimates,
            "low": low,
            "high": high,
            "p_value": effect.p_values()[1],
            "other_effect": effect.estimates - special.estimates,
            "specificity": special.estimates,
            "specificity_low": special_low,
            "specificity_high": special_high,
            "specificity_p_value": special.p_values()[1],
            "groups": units[own],
            "fewest_groups": int(units.min()),
            "documents": losses.documents[own],
        }
    )
    against = _against_controls(losses, pairs, own, permutations, generator)
    return frame.assign(**against)


def _against_controls(
    losses: KnockoutLosses,
    pairs: np.ndarray,
    own: np.ndarray,
    permutations: int,
    generator: np.random.Generator,
) -> dict[str, np.ndarray]:
    """The columns of `knockout_effects` on controls."""
    topics, everyone = len(losses.topics), np.ones((1, len(losses.topic_ids)))
    means = topic_moments(losses.changes.T, losses.topic_ids, topics, everyone)[0][0].T  # (K, T)
    special = means - (means.sum(axis=1, keepdims=True) - means) / max(topics - 1, 1)
    is_chosen = np.zeros(len(means), dtype=bool)
    is_chosen[pairs] = True
    layers = np.array([layer for layer, _ in losses.experts])
    controls = control_strata(layers, is_chosen)
    scaled = standardised_within(special, controls.scales)
    draws = max(permutations, RELABELLINGS)
    p_values = relabelled_p(scaled, controls.strata, pairs, own, draws, generator)
    rows = [np.flatnonzero(~is_chosen & (controls.strata == controls.strata[row])) for row in pairs]
    theirs = [special[row, topic] for row, topic in zip(rows, own, strict=True)]
    edges = [np.quantile(x, [0.025, 0.975]) if len(x) else (np.nan, np.nan) for x in theirs]
    sizes = np.bincount(controls.strata - controls.strata.min(initial=0))
    return {
        "control_specificity": np.array([x.mean() if len(x) else np.nan for x in theirs]),
        "control_low": np.array([low for low, _ in edges]),
        "control_high": np.array([high for _, high in edges]),
        "control_p_value": p_values,
        "control_smallest_p": 1 / sizes[controls.strata[pairs] - controls.strata.min(initial=0)],
        "controls": np.array([len(x) for x in theirs]),
    }


@dataclass(frozen=True)
class KnockoutRecord:
    """What the model loses without an expert.

    Attributes:
        knockout: `knockout_effects`, and `load` of each expert (share of its layer's choices,
            topics weighted equally) beside the controls' `control_load_low`, `control_load_high`;
            empty where none were recorded.
        cells: topic × expert shares (`topics.cells.topic_expert_cells`).
    """

    knockout: pd.DataFrame
    cells: pd.DataFrame


def measure_knockout(run: RunData, draws: Draws, cells: pd.DataFrame) -> KnockoutRecord:
    """Computes the record."""
    return KnockoutRecord(_recorded_effects(run, draws), cells)


def _recorded_effects(run: RunData, draws: Draws) -> pd.DataFrame:
    """The effect of each expert that was chosen for a topic; empty where there is none."""
    store, frame = run.store, run.store.knockout
    frame = frame[frame["kind"].isin([CHOSEN, CONTROL])]
    chosen = frame[frame["kind"] == CHOSEN].drop_duplicates(["layer", "expert", "chosen_for"])
    nothing = pd.DataFrame(columns=["layer", "expert", "topic", "effect"])
    if chosen.empty:
        return nothing
    losses = knockout_losses(frame, store.documents, run.documents, run.group_names)
    names = [store.topics[topic] for topic in chosen["chosen_for"]]
    chosen = chosen.assign(topic=names)[[name in losses.topics for name in names]]
    if chosen.empty or len(losses.topics) < 2:
        return nothing
    pairs = chosen[["layer", "expert", "load"]].assign(
        topic_id=[losses.topics.index(name) for name in chosen.topic]
    )
    load = frame.loc[frame["kind"] == CONTROL, "load"]
    return knockout_effects(losses, pairs, draws.permutations, draws.generator).assign(
        load=pairs["load"].to_numpy(), control_load_low=load.min(), control_load_high=load.max()
    )
