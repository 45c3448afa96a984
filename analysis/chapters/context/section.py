"""Figures on context: what topic adds to the tokens themselves."""

from ...html.page import ALL_LAYERS, Panel
from ...html.records import rows
from ...html.text import number
from ...results import RoutingResults
from .figures import bracket_figure, residual_figure
from .measures import LOWER_PERMUTATIONS


def context_panels(results: RoutingResults) -> list[Panel]:
    """E4: topic beyond vocabulary; nothing where the store holds no documents token by token."""
    frame = results.beyond
    if frame.empty:
        return []
    first = rows(frame)[0]
    size = (
        f"n = {first.documents:,} sampled documents of {first.topics} topics, "
        f"{first.tokens:,} untouched tokens."
    )
    return [
        Panel(
            "beyond-vocabulary",
            "Topic beyond vocabulary by layer",
            "A filled point is a layer that sends the same tokens elsewhere when the topic is "
            "another (family-wise over layers); the grey bar is what chance gives one layer "
            "alone.",
            f"{size} Unit: Σ (observed − expected from the token types)² / expected over its "
            f"null mean. Baseline: 1, and 95% of {first.permutations:,} shuffles of topics "
            "over documents.",
            {ALL_LAYERS: residual_figure(frame, results.alpha)},
            frame,
        ),
        Panel(
            "bracket",
            "How much of the topic information the words reproduce",
            "If the grey and the coloured bars are as high as the observed one, topics differ "
            "in their words alone; what they lack is context.",
            f"{size} Unit: share of log2 T = {number(first.max_bits)} bits. Baseline: the mean "
            f"of {first.permutations:,} shuffles of topics over documents (token mix routed as in "
            f"other topics: of {min(LOWER_PERMUTATIONS, first.permutations)}), subtracted from "
            "each bar.",
            {ALL_LAYERS: bracket_figure(frame)},
            frame,
        ),
    ]
