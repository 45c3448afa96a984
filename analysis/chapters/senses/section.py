"""The chapter on senses: the same token in texts that mean different things by it."""

from ...data.design import Design
from ...html.page import Panel, Section
from ...html.records import rows
from ...html.text import visible
from .figures import senses_figure
from .measures import MIN_OCCURRENCES
from .measures import SensesRecord as Record
from .verdict import largest_text

LONGEST_SENSE = 40


def senses_section(record: Record, design: Design) -> Section:
    """E16: routing by sense; senses that are too rare are named."""
    frame, left_out, permutations = (
        record.tokens,
        record.left_out,
        design.permutations,
    )
    panels = []
    if not frame.empty:
        sizes = frame.drop_duplicates("token")
        panels = [
            Panel(
                "senses",
                "Distance between senses",
                "A filled point is a token whose experts depend on what it means (family-wise over "
                "tokens and layers); the grey bar is what chance gives one token alone.",
                f"n = {int(sizes.occurrences.sum()):,} occurrences of {len(sizes)} tokens in "
                f"{int(sizes.texts.sum()):,} texts of {int(sizes.groups.sum()):,} groups. "
                "Unit: Jensen–Shannon distance between the routing in a sense and overall, mean "
                f"over senses, at most {largest_text(frame)}. Baseline: 97.5% of "
                f"{permutations:,} permutations of the senses over groups of texts.",
                {
                    str(layer): senses_figure(own, permutations, design.alpha)
                    for layer, own in frame.groupby("layer", sort=False)
                },
                frame,
                subject="senses",
            )
        ]
    notes = [
        (
            "Left out",
            f"“{visible(row.token)}” as “{visible(row.sense, LONGEST_SENSE)}”: "
            f"{row.occurrences:,} occurrences in {row.groups:,} groups; each of at least two "
            f"senses needs {MIN_OCCURRENCES} in 10 groups of texts",
        )
        for row in rows(left_out)
    ]
    return Section(
        "senses",
        "Senses",
        "The same token in texts that use it in different senses: whatever differs in its routing "
        "is context, since the token is the same.",
        panels,
        notes=notes,
    )
