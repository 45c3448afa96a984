"""The chapter on load: how evenly the experts share the tokens."""

import pandas as pd

from ...data.design import Design
from ...html.page import (
    ALL_LAYERS,
    Panel,
    Section,
    views_by_layer,
)
from ...html.records import rows
from ...html.text import (
    number,
    percent,
    topic_sizes,
    units_text,
)
from .figures import balance_figure, load_figure, topic_load_figure
from .measures import LoadRecord as Record

SHARE_COLUMNS = ["share", "share_low", "share_high", "chance", "documents", "tokens"]
LOAD_COLUMNS = ["topic", "layer", "expert", *SHARE_COLUMNS]


def load_section(record: Record, design: Design) -> Section:
    """E1: how evenly the experts share the tokens."""
    first = rows(record.load)[0]
    held = units_text(first.groups, first.documents)
    sample = f"n = {held}, {first.tokens:,} untouched tokens."
    facts = (
        f"{sample} Unit: share of tokens that chose the expert. Baseline: an even share, k/E = "
        f"{percent(first.chance, 3)}."
    )
    return Section(
        "load",
        "Load and balance",
        "Which experts do the work. Expert numbers belong to their layer: E3 of one layer has "
        "nothing to do with E3 of another, so layers are never added together.",
        [
            Panel(
                "load",
                "Load of each expert, all topics",
                "A bar above the dashed line is an expert that gets more than an even share; the "
                "thin line is the 95% interval over groups.",
                facts,
                views_by_layer(record.load, load_figure),
                record.load,
                subject="load",
                is_main=True,
            ),
            Panel(
                "load-by-topic",
                "Load of each expert, by topic",
                "Marks of one expert at different heights are topics that use it differently; the "
                "95% intervals (lines, or on hover) say how far chance alone moves them.",
                f"{topic_sizes(record.cells)} Unit: share of the topic's tokens. Baseline: an even "
                f"share, k/E = {percent(first.chance, 3)}.",
                views_by_layer(record.cells, lambda cells: topic_load_figure(cells, design.topics)),
                record.cells[LOAD_COLUMNS],
                by_topic=True,
            ),
            Panel(
                "balance",
                "Balance by layer",
                "0 is perfect balance; 1 means that the busiest expert gets twice its even share. "
                "From few groups even load looks uneven: the interval allows for it.",
                f"{sample} Unit: MaxVio = (largest − mean) / mean load. Baseline: 0; "
                f"{design.num_experts - 1} is collapse onto one expert."
                f"{_chance_of_balance(record.balance)}",
                {ALL_LAYERS: balance_figure(record.balance)},
                record.balance,
            ),
        ],
    )


def _chance_of_balance(balance: pd.DataFrame) -> str:
    """Says how much of MaxVio is chance, where the bootstrap knows."""
    most = balance.max_violation_bias.max()
    return f" At most {number(most, 2)} of it is chance." if most == most else ""


def overview(record: Record, design: Design) -> pd.DataFrame:
    """Balance of each layer, for the table of layers."""
    return pd.DataFrame(
        [
            {
                "layer": str(row.layer),
                "MaxVio": number(row.max_violation, 2),
                "effective experts": f"{number(row.effective_experts)} of {row.experts}",
            }
            for row in rows(record.balance)
        ]
    )
