"""The chapter on form: topic against token class and token identity."""

from ...data.design import Design
from ...html.page import ALL_LAYERS, Panel, Section
from ...html.records import rows
from ...html.theme import ratio_scale
from .figures import class_heatmap, forms_figure
from .measures import FormRecord as Record
from .verdict import most_of_entropy


def form_section(record: Record, design: Design) -> Section:
    """E7: what the routing goes by, topic or form."""
    return Section(
        "form",
        "Topic or form",
        "What knowing the expert of a token tells about its topic, its class and the token itself, "
        "after taking off what chance gives.",
        [forms_panel(record, design), *class_panels(record)],
    )


def forms_panel(record: Record, design: Design) -> Panel:
    """E7: what the routing goes by, topic or form."""
    frame = record.forms
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
        f"layer's load, subtracted.{most_of_entropy(frame, design.top_k)}",
        {ALL_LAYERS: forms_figure(frame)},
        frame,
        subject="form",
        is_main=True,
    )


def class_panels(record: Record) -> list[Panel]:
    """E7: token classes by expert; nothing without a class that is seen often enough."""
    classes = record.classes
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
