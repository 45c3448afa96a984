"""The chapter on covariates: position, length, source, script and language beside the topic."""

from ...data.design import Design
from ...html.page import ALL_LAYERS, Panel, Section
from ...html.records import rows
from .figures import covariate_figure
from .measures import CovariatesRecord as Record


def covariates_section(record: Record, design: Design) -> Section | None:
    """How much of the routing each explains; nothing without a covariate of two values."""
    frame = record.explained
    if "null_high" not in frame or frame.null_high.isna().all():
        return None
    sizes = ", ".join(
        f"{int(row.values):,} values of {row.by} ({int(row.groups):,} groups)"
        for row in rows(frame.dropna(subset=["null_high"]).drop_duplicates("by"))
    )
    notes = []
    if record.derived:
        notes.append(("Derived topics", derived_text(record.derived)))
    panel = Panel(
        "covariates",
        "Topic and what else it may be",
        "A covariate as high as the topic may be what the topic's bar is made of. Bars of one "
        "layer do not add up.",
        f"n = {sizes}. Unit: share of the routing's entropy, I(x; e) / H(e). Baseline: values "
        "exchanged between groups (positions: within them), subtracted; the language is a guess "
        "from common words.",
        {ALL_LAYERS: covariate_figure(frame)},
        frame,
        subject="covariates",
    )
    return Section(
        "covariates",
        "Covariates",
        "What differs between topics beside their content: position, length, source, script and "
        "language.",
        [panel],
        notes=notes,
    )


def derived_text(method: str) -> str:
    """What topics that were derived from the texts cannot show."""
    return (
        f"The topics were derived from the words of the texts ({method}): that words and experts "
        "tell them follows in part from that. Only what goes beyond the words says more."
    )
