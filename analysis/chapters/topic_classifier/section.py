"""The chapter on the topic classifier: whether a document's topic can be read off its experts."""

from ...data.design import Design
from ...html.page import ALL_LAYERS, Panel, Section
from ...html.records import rows
from ...html.text import percent
from .figures import probe_figure
from .measures import TopicClassifierRecord as Record


def classifier_section(record: Record, design: Design) -> Section | None:
    """E6: the topic predicted from experts, from words, and from both."""
    panels = classifier_panels(record)
    if not panels:
        return None
    return Section(
        "topic-classifier",
        "The topic read off the experts",
        "Whether the topic of a document can be predicted from its experts, beside its words.",
        panels,
    )


def classifier_panels(record: Record) -> list[Panel]:
    frame = record.accuracy
    if frame.empty:
        return []
    first = rows(frame)[0]
    return [
        Panel(
            "probe",
            "The topic read off the experts",
            "If experts with tokens are no better than tokens alone, the routing knows nothing of "
            "the topic that the words do not say.",
            f"n = {first.documents:,} documents of {first.origins:,} origins, those of one origin "
            "always on one side. Unit: share of documents whose topic a logistic regression "
            "predicts right in cross-validation, mean over topics. Baseline: "
            f"{first.permutations:,} shuffles of topics over whole origins, mean "
            f"{percent(first.null)}; 1 of {first.topics} topics is "
            f"{percent(first.chance)}.",
            {ALL_LAYERS: probe_figure(frame)},
            frame,
        )
    ]
