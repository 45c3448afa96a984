"""Figures on form: topic against token class and token identity."""

from ...html.page import ALL_LAYERS, Panel
from ...html.records import rows
from ...html.theme import ratio_scale
from ...results import RoutingResults
from .figures import class_heatmap, forms_figure
from .verdict import most_of_entropy


def forms_panel(results: RoutingResults) -> Panel:
    """E7: what the routing goes by, topic or form."""
    frame = results.structure.forms
    sizes = ", ".join(
        f"{row.values:,} {row.by} values ({row.tokens:,} tokens)"
        for row in rows(frame.drop_duplicates("by"))
    )
    return Panel(
        "forms",
        "Topic, token class or token",
        "The higher bar is what the routing goes by. A token's identity holds its class and "
        "part of its topic, so the bars of one layer do not add up.",
        f"n = {sizes}. Unit: share of the routing's entropy, I(x; e) / H(e); values seen at "
        "least 10 times. Baseline: topics shuffled over documents, or tokens routed by the "
        f"layer's load, subtracted.{most_of_entropy(frame, results.top_k)}",
        {ALL_LAYERS: forms_figure(frame)},
        frame,
    )


def class_panels(results: RoutingResults) -> list[Panel]:
    """E7: token classes by expert; nothing without a class that is seen often enough."""
    classes = results.structure.classes
    if classes.empty:
        return []
    tokens = classes.drop_duplicates("class")
    limit, beyond = ratio_scale(classes.log2_ratio)
    return [
        Panel(
            "classes",
            "Token class × expert",
            f"Red: chosen more for this kind of token than for all tokens; blue: less.{beyond}",
            f"n = {', '.join(f'{row.tokens:,} {row[0]}' for row in rows(tokens))} tokens. "
            "Unit: log2 of the class's share over the share of all tokens. Baseline: 0; "
            "intervals on hover count tokens as independent.",
            {
                str(layer): class_heatmap(part, limit)
                for layer, part in classes.groupby("layer", sort=False)
            },
            classes,
        )
    ]
