"""The chapters before routing: the corpus and training; and the table of layers."""

import pandas as pd

from ...data.audit import CorpusAudit
from ...findings import Findings
from ...html.page import ALL_LAYERS, MODEL, Panel, Section
from ...html.records import largest, rows
from ...html.text import expert_name, number, percent, visible
from ...results import RoutingResults
from ..training.section import training_panels
from .figures import documents_figure, lengths_figure, overlap_figure

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


def model_section(findings: Findings) -> Section:
    """What the model saw: the corpus and, where this run trained it, the training curves."""
    audit, curves, quality = findings.audit, findings.curves, findings.quality
    clean = findings.manifests["corpus"].config["corpus"]["clean"]
    total = int(audit.documents.documents.sum())
    by_split = audit.documents.groupby("split", sort=False).documents.sum()
    splits = ", ".join(f"{int(count):,} {split}" for split, count in by_split.items())
    facts = f"n = {total:,} documents."
    entropy = quality.unigram_entropy if quality else None
    training = training_panels(curves, entropy, findings.results) if curves is not None else []
    return Section(
        "corpus",
        "What the model saw",
        f"{total:,} documents in {len(audit.topics)} topics ({splits}). The probe split is held "
        "out of training and has equally many documents per topic.",
        [
            Panel(
                "documents",
                "Documents per topic",
                "Topics with equal bars have equally many documents, not equally many tokens: the "
                "loss is a mean over tokens, so topics of longer documents weigh more.",
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
        notes=_corpus_notes(audit, near_searched=clean["near_duplicates"]),
        group=MODEL,
    )


def _corpus_notes(audit: CorpusAudit, *, near_searched: bool) -> list[tuple[str, str]]:
    """Lists warnings, removals, repeats, origins and scripts."""
    removed = ", ".join(f"{count:,} {reason}" for reason, count in audit.removed.items() if count)
    notes = [("Caution", text) for text in audit.warnings] or [("Caution", "nothing stands out")]
    notes += [("Removed", removed or "nothing")]
    notes += [
        (
            f"{row.kind.capitalize()} duplicates",
            f"{row.found:,} found, {row.removed:,} removed ({row.within_topics:,} within a topic, "
            f"{row.across_topics:,} across topics); {row.across_splits:,} left across splits"
            if near_searched or row.kind != "near"
            else "not searched for",
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
