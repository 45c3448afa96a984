"""The chapter on topics among themselves: which are routed alike."""

from ...data.design import Design
from ...html.page import Panel, Section
from ...html.records import rows
from ...html.text import (
    count_range,
    percent,
)
from .figures import distance_figure, points_figure
from .measures import TopicMapRecord as Record
from .measures import topic_order


def topic_map_section(record: Record, design: Design) -> Section | None:
    """E5: topics by their experts, and documents by theirs."""
    panels = [*_distance_panels(record, design), *_point_panels(record, design)]
    if not panels:
        return None
    return Section(
        "topic-map",
        "Topics among themselves",
        "Which topics use the experts alike: distances between topics against the distance of two "
        "halves of one topic, and every document by its experts.",
        panels,
    )


def _distance_panels(record: Record, design: Design) -> list[Panel]:
    frame = record.topic_map
    if frame.empty:
        return []
    order = topic_order(frame)
    limit = max(2.0, float(frame.ratio.max()))
    sizes = count_range(frame.groups.min(), frame.groups.max())
    return [
        Panel(
            "topic-map",
            "Distance between topics",
            "Dark: two topics are routed as alike as two halves of one topic; bright: further "
            "apart. Topics routed alike stand side by side.",
            f"n = {sizes} groups per topic, halved {frame.splits.iloc[0]} times "
            "at random. Unit: Jensen–Shannon distance between halves of two topics over that "
            "between halves of one. Baseline: 1.",
            {
                str(layer): distance_figure(part, order, design.topics, limit)
                for layer, part in frame.groupby("layer", sort=False)
            },
            frame,
            shown=frame.sort_values("ratio", ascending=False),
            by_topic=True,
        )
    ]


def _point_panels(record: Record, design: Design) -> list[Panel]:
    frame = record.points
    if frame.empty:
        return []
    first = rows(frame)[0]
    return [
        Panel(
            "documents-map",
            "Documents by their experts",
            "Every point is a document. Clouds of one colour apart from the others are topics with "
            "experts of their own; mixed colours are topics routed alike.",
            f"n = {frame.id.nunique():,} documents. Unit: square roots of expert shares, first two "
            f"principal components ({percent(first.x_share)} and {percent(first.y_share)} of the "
            "variance in the first layer). Baseline: one cloud.",
            {
                str(layer): points_figure(part, design.topics)
                for layer, part in frame.groupby("layer", sort=False)
            },
            frame,
            by_topic=True,
        )
    ]
