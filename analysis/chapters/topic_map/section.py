"""Figures on topics among themselves: map, documents, signature probe."""

from ...html.page import ALL_LAYERS, Panel
from ...html.records import rows
from ...html.text import count_range, percent
from ...results import RoutingResults
from .figures import distance_figure, points_figure, probe_figure
from .measures import topic_order


def map_panels(results: RoutingResults) -> list[Panel]:
    """E5 and E6: which topics are routed alike, and whether experts give the topic away."""
    return [*_distance_panels(results), *_point_panels(results), *_probe_panels(results)]


def _distance_panels(results: RoutingResults) -> list[Panel]:
    frame = results.structure.topic_map
    if frame.empty:
        return []
    order = topic_order(frame)
    limit = max(2.0, float(frame.ratio.max()))
    sizes = count_range(frame.documents.min(), frame.documents.max())
    return [
        Panel(
            "topic-map",
            "Distance between topics",
            "Dark: two topics are routed as alike as two halves of one topic; bright: further "
            "apart. Topics routed alike stand side by side.",
            f"n = {sizes} documents per topic, halved {frame.splits.iloc[0]} times "
            "at random. Unit: Jensen–Shannon distance between halves of two topics over that "
            "between halves of one. Baseline: 1.",
            {
                str(layer): distance_figure(part, order, results.topics, limit)
                for layer, part in frame.groupby("layer", sort=False)
            },
            frame,
            shown=frame.sort_values("ratio", ascending=False),
            by_topic=True,
        )
    ]


def _point_panels(results: RoutingResults) -> list[Panel]:
    frame = results.structure.points
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
                str(layer): points_figure(part, results.topics)
                for layer, part in frame.groupby("layer", sort=False)
            },
            frame,
            by_topic=True,
        )
    ]


def _probe_panels(results: RoutingResults) -> list[Panel]:
    frame = results.structure.probe
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
