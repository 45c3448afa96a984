"""The chapter on causes: knock-out beside association."""

from ...data.design import Design
from ...html.page import ALL_LAYERS, HOW, Panel, Section
from ...html.records import rows
from ...html.text import count_range, percent, percent_range
from .figures import association_figure, knockout_figure
from .measures import KnockoutRecord as Record


def causes_section(record: Record, design: Design) -> Section:
    """E13: what losing a topic's expert costs."""
    frame = record.knockout
    panels = []
    if not frame.empty:
        first = rows(frame)[0]
        ratios = record.cells[["layer", "expert", "topic", "log2_ratio"]]
        beside = frame.merge(ratios, on=["layer", "expert", "topic"], how="left")
        low, high = percent(first.control_load_low), percent(first.control_load_high)
        size = (
            f"n = {int(frame.fewest_groups.min()):,} groups per topic, "
            f"{count_range(int(frame.controls.min()), int(frame.controls.max()))} control experts "
            f"with {low} to {high} of their layers' choices (these experts: "
            f"{percent_range(frame.load.min(), frame.load.max())})."
        )
        panels = [
            Panel(
                "knockout",
                "Loss without the expert",
                "A point to the right of the grey bar is an expert whose topic loses more than "
                "others do, by more than with control experts; a diamond right of its point shows "
                "how much the other topics lose, too.",
                f"{size} Unit: change of loss, nats per predicted token, mean over groups; "
                "specificity: own topic less the mean of the others, 95% interval by bootstrap-t "
                "over groups. Baseline: 0, and the specificity of controls in the same layer (in "
                "all layers, where a layer has fewer than 20) for the same topic.",
                {ALL_LAYERS: knockout_figure(frame, design.permutations)},
                frame,
                subject="knock-out",
                is_main=True,
            ),
            Panel(
                "knockout-association",
                "Association against effect",
                "Experts on the right are chosen more for their topic; only those above the line "
                "matter more to it. Association is no evidence of effect.",
                f"{size} Unit: log2 of the topic's share over the mean of topics; own topic's "
                "change of loss minus that of the others, nats per predicted token. Baseline: 0.",
                {ALL_LAYERS: association_figure(beside)},
                beside,
            ),
        ]
    return Section(
        "causes",
        "Causes",
        "What the model loses when one expert is taken away: the strongest expert of each topic, "
        "and control experts for comparison.",
        panels,
        notes=[] if panels else [("No knock-outs", "This store holds none (route.knockout).")],
        group=HOW,
    )
