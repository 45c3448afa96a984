"""The chapter on confidence: how surely the router chooses."""

from ...data.design import Design
from ...html.page import (
    HOW,
    Panel,
    Section,
)
from ...html.text import (
    count_range,
)
from .figures import confidence_figure
from .measures import ConfidenceRecord as Record


def _confidence_panels(record: Record, design: Design) -> list[Panel]:
    frame = record.confidence
    if frame.empty:
        return []
    return [
        Panel(
            "confidence",
            "Confidence of the router by topic",
            "Longer bars are surer choices; a topic with shorter bars than the others is one that "
            "the router does not know where to put.",
            f"n = {count_range(frame.tokens.min(), frame.tokens.max())} untouched tokens per "
            "topic. Unit: mean over tokens of the router's probability on the chosen experts, and "
            "of the smallest chosen minus the largest other one. Baseline: the mean of all topics "
            "(on hover).",
            {
                str(layer): confidence_figure(part, design.topics)
                for layer, part in frame.groupby("layer", sort=False)
            },
            frame,
            by_topic=True,
        )
    ]


def confidence_section(record: Record, design: Design) -> Section:
    """E11: how surely the router chooses."""
    panels = _confidence_panels(record, design)
    return Section(
        "confidence",
        "Confidence",
        "How sure the router is of its choice, by topic.",
        panels,
        notes=[] if panels else [("Not known", "Only moescope's own models show their router.")],
        group=HOW,
    )
