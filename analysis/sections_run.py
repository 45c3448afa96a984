"""The chapters before routing: the corpus and training; and the table of layers."""

import numpy as np
import pandas as pd

from .corpus_audit import CorpusAudit
from .figures.corpus import documents_figure, lengths_figure, overlap_figure
from .figures.training import (
    balance_loss_figure,
    layer_curve_figure,
    loss_figure,
    topic_loss_figure,
)
from .page import ALL_LAYERS, MODEL, Panel, Section
from .records import largest, rows
from .results import RoutingResults
from .text import expert_name, number, percent, visible
from .training import TrainingCurves
from .verdict import ModelQuality

QUALITY = ("largest_origin_share", "non_latin_share")


def overview_table(results: RoutingResults) -> pd.DataFrame:
    """One row per layer: the report in a table."""
    table = []
    for info, balance in zip(rows(results.information), rows(results.balance), strict=True):
        cells = results.cells[results.cells.layer == info.layer]
        top = largest(cells, "low" if cells.low.notna().any() else "log2_ratio")
        pair = f"{expert_name(top.layer, top.expert)} · {visible(top.topic, 24)}"
        sure = info.family_p_value <= results.alpha
        table.append(
            {
                "layer": str(info.layer),
                "topic bits": number(info.bits),
                "share of log2 T": percent(info.share),
                "size": info.band if sure else "no evidence",
                "family-wise p": number(info.family_p_value, 2),
                "strongest pair": pair,
                "ratio (log2)": number(top.log2_ratio, 2),
                "MaxVio": number(balance.max_violation, 2),
                "effective experts": f"{number(balance.effective_experts)} of {balance.experts}",
            }
        )
    return pd.DataFrame(table)


def model_section(
    audit: CorpusAudit,
    curves: TrainingCurves | None,
    quality: ModelQuality | None,
    results: RoutingResults,
) -> Section:
    """What the model saw: the corpus and, where this run trained it, the training curves."""
    total = int(audit.documents.documents.sum())
    by_split = audit.documents.groupby("split", sort=False).documents.sum()
    splits = ", ".join(f"{int(count):,} {split}" for split, count in by_split.items())
    facts = f"n = {total:,} documents."
    training = training_panels(curves, quality, results) if curves is not None else []
    return Section(
        "corpus",
        "What the model saw",
        f"{total:,} documents in {len(audit.topics)} topics ({splits}). The probe split is held "
        "out of training and has equally many documents per topic.",
        [
            Panel(
                "documents",
                "Documents per topic",
                "Topics of equal length here weigh equally in training.",
                f"{facts} Unit: documents. Baseline: equal bars.",
                {ALL_LAYERS: documents_figure(audit.documents, audit.topics)},
                audit.documents,
                by_topic=True,
            ),
            Panel(
                "lengths",
                "Length of documents",
                "Topics whose documents differ in length can be told apart without their words.",
                f"{facts} Unit: words. Baseline: the same span for every topic.",
                {ALL_LAYERS: lengths_figure(audit.lengths)},
                audit.lengths.merge(audit.quality, on="topic"),
                by_topic=True,
            ),
            Panel(
                "overlap",
                "Words that topics share",
                "Dark: two topics that use different words, so that words alone can look like "
                "topic.",
                f"{facts} Unit: Σ over words of the smaller of the two shares. Baseline: 100% "
                "for equal vocabularies; small topics overlap less by chance.",
                {ALL_LAYERS: overlap_figure(audit.overlap, audit.topics)},
                audit.overlap,
                by_topic=True,
            ),
            *training,
        ],
        notes=_corpus_notes(audit),
        group=MODEL,
    )


def _corpus_notes(audit: CorpusAudit) -> list[tuple[str, str]]:
    """Lists warnings, removals, repeats, origins and scripts."""
    removed = ", ".join(f"{count:,} {reason}" for reason, count in audit.removed.items() if count)
    notes = [("Caution", text) for text in audit.warnings] or [("Caution", "nothing stands out")]
    notes += [("Removed", removed or "nothing")]
    notes += [
        (
            f"{row.kind.capitalize()} duplicates",
            f"{row.found:,} found, {row.removed:,} removed ({row.within_topics:,} within a topic, "
            f"{row.across_topics:,} across topics); {row.across_splits:,} left across splits",
        )
        for row in rows(audit.duplicates)
    ]
    origin, letters = (largest(audit.quality, name) for name in QUALITY)
    notes += [
        (
            "One origin",
            f"gives at most {percent(origin.largest_origin_share)} of a topic's documents "
            f"(“{visible(origin.topic)}”)",
        ),
        (
            "Letters not Latin",
            f"at most {percent(letters.non_latin_share)} of a topic (“{visible(letters.topic)}”)",
        ),
    ]
    return notes


def training_panels(
    curves: TrainingCurves, quality: ModelQuality | None, results: RoutingResults
) -> list[Panel]:
    """How the model got where it is: losses, balance and router entropy over training."""
    tokens = f"n = {quality.train_tokens:,} training tokens." if quality else ""
    unigram = quality.unigram_entropy if quality else None
    baseline = "Baseline: the unigram entropy." if quality else ""
    panels = [
        Panel(
            "loss",
            "Loss",
            "The distance below the dashed line is what the model knows beyond how frequent "
            "tokens are.",
            f"{tokens} Unit: nats per predicted token, without balance losses. {baseline}",
            {ALL_LAYERS: loss_figure(curves.curves, unigram)},
            curves.curves,
        )
    ]
    if len(curves.topics):
        panels.append(
            Panel(
                "topic-loss",
                "Validation loss by topic",
                "Topics that lie lower are easier to predict.",
                f"{tokens} Unit: nats per predicted token. Baseline: the other topics.",
                {ALL_LAYERS: topic_loss_figure(curves.topics, results.topics)},
                curves.topics.assign(perplexity=np.exp(curves.topics["loss"])),
                by_topic=True,
            )
        )
    if curves.curves.metric.str.startswith("balance/").any():
        own = curves.curves[curves.curves.metric.str.startswith("balance/")]
        panels.append(
            Panel(
                "balance-losses",
                "Balance losses",
                "Each before its weight; Switch and GShard losses are 1 at perfect balance.",
                f"{tokens} Unit: the loss itself. Baseline: its value at perfect balance.",
                {ALL_LAYERS: balance_loss_figure(curves.curves)},
                own,
            )
        )
    return panels + _layer_curve_panels(curves.layers, results.num_experts, tokens)


def _layer_curve_panels(layers: pd.DataFrame, num_experts: int, tokens: str) -> list[Panel]:
    """Balance and router entropy of each layer during training."""
    curves = (
        (
            "max_violation",
            "balance-curve",
            "Balance during training",
            "A line that stays high is a layer whose router favours few experts.",
            "MaxVio",
            "0 at perfect balance",
        ),
        (
            "router_entropy",
            "entropy-curve",
            "Router entropy during training",
            "Falling lines are routers that become sure of their choice.",
            "nats",
            f"ln {num_experts} for a router that does not choose",
        ),
    )
    return [
        Panel(
            name,
            title,
            reading,
            f"{tokens} Unit: {unit}. Baseline: {baseline}.",
            {ALL_LAYERS: layer_curve_figure(layers, metric, unit)},
            layers[layers.metric == metric],
        )
        for metric, name, title, reading, unit, baseline in curves
        if (layers.metric == metric).any()
    ]
