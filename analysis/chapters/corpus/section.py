"""The chapter on the corpus: what the model saw."""

from ...data.audit import CorpusAudit
from ...data.design import Design
from ...html.page import ALL_LAYERS, MODEL, Panel, Section
from ...html.records import largest, rows
from ...html.text import percent, visible
from .figures import documents_figure, lengths_figure, overlap_figure
from .measures import CorpusRecord as Record

QUALITY = ("largest_group_share", "non_latin_share")


def corpus_section(record: Record, design: Design) -> Section | None:
    """The audit; None where the corpus is not known."""
    audit = record.audit
    if audit is None:
        return None
    total = int(audit.documents.documents.sum())
    by_split = audit.documents.groupby("split", sort=False).documents.sum()
    splits = ", ".join(f"{int(count):,} {split}" for split, count in by_split.items())
    facts = f"n = {total:,} documents."
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
                subject="corpus",
            ),
            Panel(
                "lengths",
                "Length of documents",
                "Topics whose documents differ in length can be told apart without their words.",
                f"{facts} Unit: words. Baseline: the same span for every topic.",
                {ALL_LAYERS: lengths_figure(audit.lengths)},
                audit.lengths.merge(audit.quality, on="topic"),
                by_topic=True,
                subject="lengths",
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
                subject="overlap",
            ),
        ],
        notes=_corpus_notes(audit, near_searched=record.near_searched),
        group=MODEL,
    )


def _corpus_notes(audit: CorpusAudit, *, near_searched: bool) -> list[tuple[str, str]]:
    """Lists warnings, removals, repeats, groups and scripts."""
    removed = ", ".join(f"{count:,} {reason}" for reason, count in audit.removed.items() if count)
    notes = [("Caution", warning.text) for warning in audit.warnings] or [
        ("Caution", "nothing stands out")
    ]
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
    group, letters = (largest(audit.quality, name) for name in QUALITY)
    notes += [
        (
            "One group",
            f"gives at most {percent(group.largest_group_share)} of a topic's documents "
            f"(“{visible(group.topic)}”)",
        ),
        (
            "Letters not Latin",
            f"at most {percent(letters.non_latin_share)} of a topic (“{visible(letters.topic)}”)",
        ),
    ]
    return notes
