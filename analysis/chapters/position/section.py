"""Panels on positions and special tokens, part of the chapter on masks."""

from ...html.page import Panel
from ...html.records import rows
from ...html.text import visible
from ...results import RoutingResults
from .substrata_figures import substratum_entropy_figure, substratum_figure


def substrata_panels(results: RoutingResults) -> list[Panel]:
    """E12: routing and router entropy by position and special token; [] where not recorded."""
    frame = results.substrata
    if frame.empty:
        return []
    sizes = frame.drop_duplicates(["stratum", "place"])
    by_stratum = sizes.groupby("stratum", sort=False).tokens.sum()
    totals = [f"{number:,} {name}" for name, number in by_stratum.items()]
    special = ", ".join(
        f"{row.tokens:,} {visible(row.place)}" for row in rows(sizes[sizes.stratum == "special"])
    )
    size = f"n = {', '.join(totals)} tokens" + (f" ({special})." if special else ".")
    by_layer = list(frame.groupby("layer", sort=False))
    panels = [
        Panel(
            "substrata",
            "Load by position and special token",
            "Rows of one kind that change from top to bottom are routed by where a token stands; "
            "compare [MASK] rows with untouched ones of the same position.",
            f"{size} Unit: share of the row's tokens; positions in tokens from the window's start. "
            "Baseline: untouched tokens of the same position.",
            {str(layer): substratum_figure(own) for layer, own in by_layer},
            frame,
        )
    ]
    if frame.entropy.notna().any():
        panels.append(
            Panel(
                "substrata-entropy",
                "Entropy of the router by position and special token",
                "Low is a router that is sure; at the dashed line it does not choose at all.",
                f"{size} Unit: bits, mean over tokens. Baseline: log2 of {results.num_experts} "
                "experts, and untouched tokens of the same position.",
                {str(layer): substratum_entropy_figure(own) for layer, own in by_layer},
                frame.drop_duplicates(["stratum", "place", "layer"]).drop(
                    columns=["expert", "share"]
                ),
            )
        )
    return panels
