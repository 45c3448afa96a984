"""The chapter on context: what the topic adds to the tokens themselves."""

from ...data.design import Design
from ...html.page import ALL_LAYERS, Panel, Section
from ...html.records import rows
from ...html.text import number, percent
from .figures import bracket_figure, residual_figure
from .measures import ContextRecord as Record


def context_section(record: Record, design: Design) -> Section:
    """E4: topic beyond vocabulary, and how much of the topic the words alone reproduce."""
    panels = context_panels(record, design)
    return Section(
        "context",
        "Topic beyond words",
        "Whether the same token goes to another expert when the topic is another, and how much of "
        "the topic information the tokens alone reproduce.",
        panels,
        notes=[] if panels else [("No test of context", "No documents token by token.")],
    )


def context_panels(record: Record, design: Design) -> list[Panel]:
    """E4: topic beyond vocabulary; nothing where the store holds no documents token by token."""
    frame = record.beyond
    if frame.empty:
        return []
    first = rows(frame)[0]
    unit = "groups" if first.grouped else "documents"
    held = f"{first.groups:,} groups, " if first.grouped else ""
    size = (
        f"n = {held}{first.documents:,} sampled documents of {first.topics} topics, "
        f"{first.tokens:,} untouched tokens."
    )
    return [
        Panel(
            "beyond-vocabulary",
            "Topic beyond vocabulary by layer",
            "A filled point is a layer that sends the same tokens elsewhere when the topic is "
            "another (family-wise over layers); the grey bar is what chance gives one layer "
            "alone.",
            f"{size} {percent(first.coverage)} of the tokens are of types in at least five {unit}; "
            f"the topics' words overlap by {percent(first.overlap)}. Unit: Welch statistic of "
            "observed less expected choices over its null mean. Baseline: 1, and 95% of "
            f"{first.permutations:,} shuffles of topics over {unit}.",
            {ALL_LAYERS: residual_figure(frame, design.alpha)},
            frame,
            subject="beyond vocabulary",
            is_main=True,
        ),
        Panel(
            "bracket",
            "How much of the topic information the words reproduce",
            "If the grey and the coloured bars are as high as the observed one, topics differ "
            "in their words alone; what they lack is context.",
            f"{size} Unit: share of log2 T = {number(first.max_bits)} bits. Baseline: 0; bias of "
            f"few {unit} and 95% intervals by the jackknife over {unit}.",
            {ALL_LAYERS: bracket_figure(frame)},
            frame,
        ),
    ]
