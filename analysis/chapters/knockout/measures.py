"""E13, knock-out: what losing a topic's expert costs that topic, the others, and by chance."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...data.documents import DocumentCounts
from ...data.run import RunData
from ...statistics.bootstrap import interval
from ...statistics.draws import Draws
from ...statistics.permutations import (
    MIN_DOCUMENTS_FOR_P,
    document_orders,
    family_wise_p,
    permuted_sums,
    permuted_topics,
)

CHOSEN, CONTROL = "chosen", "control"


@dataclass(frozen=True)
class KnockoutLosses:
    """Change of loss when an expert is taken away, nats per label, positive = worse.

    Attributes:
        experts: (layer, expert) of each knock-out (K).
        changes: (K, D) by document, paired with the loss of the whole model.
        topic_ids: (D) topic of each measured document.
        topics: names of the topics that have a measured document (T).
    """

    experts: list[tuple[int, int]]
    changes: np.ndarray
    topic_ids: np.ndarray
    topics: tuple[str, ...]


def knockout_losses(
    knockout: pd.DataFrame, documents: pd.DataFrame, data: DocumentCounts
) -> tuple[KnockoutLosses, np.ndarray]:
    """Puts knockout.parquet into a matrix; returns it and the rows of `data` measured (D)."""
    row_of = {name: row for row, name in enumerate(data.ids)}
    names = documents.set_index("document")["id"].astype(str)
    frame = knockout.drop_duplicates(["layer", "expert", "document"])
    rows = [row_of.get(names[number], -1) for number in frame["document"]]
    table = (
        frame.assign(row=rows)
        .query("row >= 0")
        .pivot_table(index=["layer", "expert"], columns="row", values="loss_change")
    )
    table = table.dropna(axis=1)
    measured = table.columns.to_numpy(dtype=np.int64)
    experts = [(int(layer), int(expert)) for layer, expert in table.index]
    present, topic_ids = np.unique(data.topic_ids[measured], return_inverse=True)
    topics = tuple(data.topics[topic] for topic in present)
    return KnockoutLosses(experts, table.to_numpy(dtype=float), topic_ids, topics), measured


def resampled_t(changes: np.ndarray, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One-sample t of each knock-out, and of the same without effect: documents drawn again.

    The bootstrap-t of Hall (1988, Annals of Statistics 16): changes less their mean are drawn with
    replacement and studentised anew, so that the null is as skewed as the losses are. Flipping
    signs would take them to be symmetric: with changes skewed to the left it rejects ten times too
    often (docs/calibration.md).

    Args:
        changes: (K, D) of the documents of one topic.
        draws: (P, D) times each document is drawn, rows adding up to D.

    Returns:
        (K) observed and (P, K) null; 0 where all changes are the same.
    """
    number = changes.shape[1]
    mean = changes.mean(axis=1)
    centred = (changes - mean[:, None]).T  # (D, K)
    everyone = np.ones((1, number)) / number
    drawn_means = draws @ centred / number
    drawn = _studentised(drawn_means, draws @ centred**2 / number - drawn_means**2, number)
    observed = _studentised(mean[None], everyone @ centred**2, number)
    return observed[0], drawn


def _studentised(means: np.ndarray, variances: np.ndarray, number: int) -> np.ndarray:
    """Means in standard errors; 0 where nothing varies."""
    error = np.sqrt(np.maximum(variances, 0) / max(number - 1, 1))
    return np.divide(means, error, out=np.zeros_like(means), where=error > 1e-9)


def specificity_statistics(losses: KnockoutLosses, permuted: np.ndarray) -> np.ndarray:
    """Own topic's mean change minus the mean of the other topics', in standard errors.

    Args:
        losses: of the knock-outs.
        permuted: (P, D) topic of each document.

    Returns:
        (P, T, K): knock-out k with topic t as its own.
    """
    topics = len(losses.topics)
    values = np.concatenate([losses.changes, losses.changes**2]).T
    sums = np.concatenate(list(permuted_sums(values, permuted, topics)))  # (P, T, 2K)
    count = np.bincount(losses.topic_ids, minlength=topics)[:, None]
    first, second = np.split(sums / np.maximum(count, 1), 2, axis=-1)
    error = np.maximum(second - first**2, 0) / np.maximum(count - 1, 1)  # squared, of each mean
    others = max(topics - 1, 1)
    difference = first - (first.sum(axis=1, keepdims=True) - first) / others
    spread = error + (error.sum(axis=1, keepdims=True) - error) / others**2
    return np.divide(difference, np.sqrt(spread), out=np.zeros_like(first), where=spread > 0)


def knockout_effects(
    losses: KnockoutLosses,
    chosen: pd.DataFrame,
    controls: pd.DataFrame,
    weights: np.ndarray,
    permutations: int,
    generator: np.random.Generator,
) -> pd.DataFrame:
    """What each topic loses with the expert that was chosen for it.

    Args:
        losses: of chosen experts and controls.
        chosen: `layer, expert, load, topic_id` of each pair.
        controls: `layer, expert, load` of experts of no topic, near the loads of the chosen.
        weights: (B, D) bootstrap weights of the measured documents.
        permutations: resamplings and permutations behind the p-values.
        generator: draws them.

    Returns:
        One row per pair: `layer`, `expert`, `topic`, `effect` (mean over the topic's documents,
        nats per label) with 95% `low`, `high`, `p_value` (bootstrap-t over documents, family-wise
        over the pairs), `other_effect` (mean of the other topics), `specificity` = effect −
        other_effect with `specificity_low`, `_high` and `specificity_p_value` (documents permuted
        over topics, family-wise), `control_effect` (mean of the controls on the same topic) with
        their central 95% `control_low`, `control_high`, `controls`, `load` (share of the layer's
        choices, topics weighted equally) beside the controls' smallest and largest,
        `control_load_low`, `control_load_high`; `documents` (of the topic).
        Tests are one-sided: the loss rises. No p below 10 measured documents in a topic.
    """
    place = {pair: row for row, pair in enumerate(losses.experts)}
    topics, size = len(losses.topics), losses.changes.shape[1]
    pairs = [place[int(layer), int(expert)] for layer, expert in chosen[["layer", "expert"]].values]
    own_topics = chosen["topic_id"].to_numpy(np.int64)
    permuted = permuted_topics(document_orders(generator, size, permutations), losses.topic_ids)
    permuted = np.concatenate([losses.topic_ids[None], permuted])
    observed, null = np.zeros(len(pairs)), np.zeros((permutations, len(pairs)))
    for topic in np.unique(own_topics):
        own, columns = losses.topic_ids == topic, np.flatnonzero(own_topics == topic)
        changes = losses.changes[[pairs[column] for column in columns]][:, own]
        draws = generator.multinomial(own.sum(), np.full(own.sum(), 1 / own.sum()), permutations)
        observed[columns], null[:, columns] = resampled_t(changes, draws)
    special = specificity_statistics(losses, permuted)[:, own_topics, pairs]
    rows = [place[int(layer), int(x)] for layer, x in controls[["layer", "expert"]].values]
    frame = _effects(losses, pairs, own_topics, rows, weights).assign(
        load=chosen["load"].to_numpy(),
        control_load_low=controls["load"].min(),
        control_load_high=controls["load"].max(),
    )
    testable = np.bincount(losses.topic_ids, minlength=topics).min() >= MIN_DOCUMENTS_FOR_P
    tests = {"p_value": (observed, null), "specificity_p_value": (special[0], special[1:])}
    for name, (found, drawn) in tests.items():
        frame[name] = family_wise_p(found, drawn) if testable and len(pairs) else np.nan
    return frame


def _effects(
    losses: KnockoutLosses,
    pairs: list[int],
    own_topics: np.ndarray,
    controls: list[int],
    weights: np.ndarray,
) -> pd.DataFrame:
    """The columns of `knockout_effects` that are no p-values; pairs and controls are rows."""
    topics = len(losses.topics)
    own = [losses.changes[:, losses.topic_ids == topic] for topic in range(topics)]
    means = np.stack([changes.mean(axis=1) for changes in own])
    draws = _bootstrap_means(losses, weights)  # (B, T, K)
    documents = np.bincount(losses.topic_ids, minlength=topics)
    records = []
    for row, topic in zip(pairs, own_topics.tolist(), strict=True):
        layer, expert = losses.experts[row]
        others = (means[:, row].sum() - means[topic, row]) / max(topics - 1, 1)
        drawn = draws[:, topic, row]
        drawn_others = (draws[:, :, row].sum(axis=1) - drawn) / max(topics - 1, 1)
        low, high = interval(drawn, documents[topic])
        specific_low, specific_high = interval(drawn - drawn_others, documents.min())
        control = means[topic, controls]
        edges = np.quantile(control, [0.025, 0.975]) if controls else (np.nan, np.nan)
        records.append(
            {
                "layer": layer,
                "expert": expert,
                "topic": losses.topics[topic],
                "effect": means[topic, row],
                "low": float(low),
                "high": float(high),
                "other_effect": others,
                "specificity": means[topic, row] - others,
                "specificity_low": float(specific_low),
                "specificity_high": float(specific_high),
                "control_effect": control.mean() if controls else np.nan,
                "control_low": edges[0],
                "control_high": edges[1],
                "controls": len(controls),
                "documents": int(documents[topic]),
            }
        )
    return pd.DataFrame(records)


def _bootstrap_means(losses: KnockoutLosses, weights: np.ndarray) -> np.ndarray:
    """Mean change by topic in each draw: (B, T, K); NaN for a topic that a draw lacks."""
    means = np.zeros((len(weights), len(losses.topics), len(losses.experts)))
    for topic in range(len(losses.topics)):
        own = losses.topic_ids == topic
        part = weights[:, own].astype(float)
        drawn = part.sum(axis=1, keepdims=True)
        means[:, topic] = part @ losses.changes[:, own].T / np.where(drawn > 0, drawn, np.nan)
    return means


@dataclass(frozen=True)
class KnockoutRecord:
    """What the model loses without an expert.

    Attributes:
        knockout: `knockout_effects`; empty where none were recorded.
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
    chosen = frame[frame["kind"] == CHOSEN].drop_duplicates(["layer", "expert", "chosen_for"])
    nothing = pd.DataFrame(columns=["layer", "expert", "topic", "effect"])
    if chosen.empty:
        return nothing
    losses, rows = knockout_losses(frame, store.documents, run.documents)
    names = [store.topics[topic] for topic in chosen["chosen_for"]]
    chosen = chosen.assign(topic=names)[[name in losses.topics for name in names]]
    if chosen.empty or len(losses.topics) < 2:
        return nothing
    pairs = chosen[["layer", "expert", "load"]].assign(
        topic_id=[losses.topics.index(name) for name in chosen.topic]
    )
    controls = frame[frame["kind"] == CONTROL].drop_duplicates(["layer", "expert"])
    weights = draws.weights[:, rows]
    return knockout_effects(losses, pairs, controls, weights, draws.permutations, draws.generator)
