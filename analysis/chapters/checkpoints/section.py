"""The chapter on checkpoints: when in training the routing settled."""

import pandas as pd

from ...data.design import Design
from ...html.page import ALL_LAYERS, OVER_TIME, Panel, Section
from ...html.records import rows
from .figures import saturation_figure
from .measures import CheckpointsRecord as Record
from .verdict import saturation_claim


def checkpoints_section(record: Record, design: Design) -> Section:
    """E14 within the run: each snapshot's choices against the final ones."""
    frame = record.saturation
    return Section(
        "checkpoints",
        "Checkpoints",
        "Snapshots of the training route the same documents as the finished model."
        + (f" {saturation_claim(frame)}" if not frame.empty else ""),
        _panels(frame),
        notes=[]
        if not frame.empty
        else [("No snapshots", "This run kept none; train.snapshots=5 keeps five.")],
        group=OVER_TIME,
    )


def _panels(frame: pd.DataFrame) -> list[Panel]:
    if frame.empty:
        return []
    first = rows(frame)[0]
    return [
        Panel(
            "saturation",
            "When routing settled",
            "A line that is high early is a layer that sent tokens to their final experts early; "
            "one that climbs to the end was still moving when training stopped.",
            f"n = {first.groups:,} groups ({first.documents:,} documents), "
            f"{int(frame.choices.min()):,} choices of untouched tokens per layer and "
            "snapshot. Unit: share of the finally chosen experts that the "
            f"snapshot chose for the same token, 95% interval by a bootstrap of groups. Baseline: "
            "experts per token over E (k/E where no slot is empty), and two random tokens under "
            "the final load (dotted).",
            {ALL_LAYERS: saturation_figure(frame)},
            frame,
            subject="checkpoints",
            is_main=True,
        )
    ]
