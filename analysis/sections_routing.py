"""The chapters on routing: load, topics, depth, strata, vocabulary."""

from collections.abc import Callable, Mapping

import pandas as pd
import plotly.graph_objects as go

from .chapters.context.section import context_panels
from .chapters.form.section import class_panels, forms_panel
from .chapters.load.figures import balance_figure, load_figure, topic_load_figure
from .chapters.position.figures import entropy_figure, masked_figure, stratum_figure
from .chapters.position.section import substrata_panels
from .chapters.topic_map.section import map_panels
from .chapters.topics.depth import depth_figure, specialisation_figure
from .chapters.topics.figures import topic_heatmap
from .chapters.topics.profiles import expert_profiles
from .html.page import ALL_LAYERS, ExpertCard, Panel, Section
from .html.records import rows
from .html.text import expert_name, interval_text, number, percent
from .results import RoutingResults

SHARE_COLUMNS = ["share", "share_low", "share_high", "chance", "documents", "tokens"]
LOAD_COLUMNS = ["topic", "layer", "expert", *SHARE_COLUMNS]
RATIO_COLUMNS = ["log2_ratio", "low", "high", "share", "base_share", "p_value"]
CELL_COLUMNS = ["layer", "expert", "topic", *RATIO_COLUMNS]
SMALLEST_SCALE = 0.5  # log2; keeps noise from filling the colour scale


def load_section(results: RoutingResults) -> Section:
    """E1: how evenly the experts share the tokens."""
    first = rows(results.load)[0]
    facts = (
        f"n = {first.documents:,} documents, {first.tokens:,} untouched tokens. Unit: share of "
        f"tokens that chose the expert. Baseline: an even share, k/E = {percent(first.chance, 3)}."
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
                "thin line is the 95% interval over documents.",
                facts,
                _by_layer(results.load, load_figure),
                results.load,
            ),
            Panel(
                "load-by-topic",
                "Load of each expert, by topic",
                "Marks of one expert at different heights are topics that use it differently; the "
                "95% intervals (lines, or on hover) say how far chance alone moves them.",
                f"{_topic_sizes(results)} Unit: share of the topic's tokens. Baseline: an even "
                f"share, k/E = {percent(first.chance, 3)}.",
                _by_layer(results.cells, lambda cells: topic_load_figure(cells, results.topics)),
                results.cells[LOAD_COLUMNS],
                by_topic=True,
            ),
            Panel(
                "balance",
                "Balance by layer",
                "0 is perfect balance; 1 means that the busiest expert gets twice its even share. "
                "From few documents even load looks uneven: the interval allows for it.",
                f"n = {first.documents:,} documents, {first.tokens:,} untouched tokens. Unit: "
                f"MaxVio = (largest − mean) / mean load. Baseline: 0; {results.num_experts - 1} "
                f"is collapse onto one expert.{_chance_of_balance(results.balance)}",
                {ALL_LAYERS: balance_figure(results.balance)},
                results.balance,
            ),
        ],
    )


def _chance_of_balance(balance: pd.DataFrame) -> str:
    """Says how much of MaxVio is chance, where the bootstrap knows."""
    most = balance.max_violation_bias.max()
    return f" At most {number(most, 2)} of it is chance." if most == most else ""


def topics_section(results: RoutingResults) -> Section:
    """E2: which expert is chosen more, or less, for which topic."""
    limit = max(SMALLEST_SCALE, float(results.cells.log2_ratio.abs().max()))
    marked = results.cells.sort_values("statistic", key=abs, ascending=False)
    return Section(
        "topics",
        "Topics",
        "Which experts are chosen more for one topic than for the others, which topics use them "
        "alike, and whether a document's topic can be read off its experts: counted on untouched "
        "tokens, judged by whole documents.",
        [
            Panel(
                "topics",
                "Topic × expert",
                "Red: chosen more for this topic than for the mean of all topics; blue: less; "
                "+1 is twice, −1 half. A dot marks what shuffled topics do not reach.",
                f"{_topic_sizes(results)} Unit: log2 of the topic's share of choices over the "
                f"mean of {len(results.topics)} topics. Baseline: 0, and the largest deviation "
                f"in {results.permutations:,} shuffles of topics over documents (family-wise "
                f"over all layers, level {results.alpha:g}).",
                _by_layer(
                    results.cells,
                    lambda cells: topic_heatmap(
                        cells,
                        results.topics,
                        limit=limit,
                        alpha=results.alpha,
                        permutations=results.permutations,
                    ),
                ),
                results.cells,
                shown=marked[CELL_COLUMNS],
                by_topic=True,
            ),
            *map_panels(results),
        ],
        profiles=expert_profiles(results),
    )


def depth_section(results: RoutingResults) -> Section:
    """E3, E4, E7: what the expert of a token tells, by layer: topic, token class, token."""
    first = rows(results.information)[0]
    context = context_panels(results)
    return Section(
        "depth",
        "Depth",
        "What knowing the expert of a token tells, layer by layer, after taking off what chance "
        "gives: about its topic, about its form, and about its topic beyond its words.",
        [
            Panel(
                "depth",
                "Topic information by layer",
                "A filled point is a layer with topic information (family-wise over layers); the "
                "grey band is what chance gives one layer alone. Below 0.5% is negligible, to 2% "
                "weak, to 10% moderate, above strong; for comparison, Mixtral 0.1–0.4%, OLMoE "
                "7–22%.",
                f"n = {first.documents:,} documents of {first.topics} topics, {first.tokens:,} "
                f"untouched tokens. Unit: share of log2 T = {number(first.max_bits)} bits. "
                f"Baseline: the mean of {first.permutations:,} shuffles of topics over documents, "
                "subtracted; the band is their central 95%.",
                {ALL_LAYERS: depth_figure(results.information, results.alpha)},
                _with_origins(results),
            ),
            forms_panel(results),
            *context,
        ],
        notes=[] if context else [("No test of context", "No documents token by token.")],
    )


def _with_origins(results: RoutingResults) -> pd.DataFrame:
    """Topic information, and beside it the test that shuffles whole origins."""
    origins = results.structure.origins
    if origins.empty:
        return results.information
    names = {"share": "origin_share", "family_p_value": "origin_family_p_value"}
    own = origins[["layer", *names, "origins"]].rename(columns=names)
    return results.information.merge(own, on="layer")


def strata_section(results: RoutingResults) -> Section:
    """E12: masked and special positions."""
    panels = []
    if not results.masked.empty:
        first = rows(results.masked)[0]
        panels.append(
            Panel(
                "masked",
                "[MASK] tokens against untouched tokens",
                "Where the coloured bar is far above the grey one, the expert serves masked "
                "positions.",
                f"n = {first.masked_tokens:,} [MASK] and {first.untouched_tokens:,} untouched "
                f"tokens of {first.documents:,} documents. Unit: share of the stratum's tokens. "
                "Baseline: untouched tokens of the same documents.",
                _by_layer(results.masked, masked_figure),
                results.masked,
            )
        )
    tokens = results.strata.drop_duplicates("stratum")
    sizes = ", ".join(f"{row.tokens:,} {row.stratum}" for row in rows(tokens))
    panels.append(
        Panel(
            "strata",
            "Load by kind of position",
            "Rows that look alike are routed alike; a bright cell is an expert that a kind of "
            "position goes to.",
            f"n = {sizes} tokens. Unit: share of the stratum's tokens. Baseline: the row of "
            "untouched tokens.",
            _by_layer(results.strata, stratum_figure),
            results.strata,
        )
    )
    if not results.entropy.empty:
        panels.append(
            Panel(
                "entropy",
                "Entropy of the router",
                "Low is a router that is sure; at the dashed line it does not choose at all.",
                f"n = {sizes} tokens. Unit: bits, mean over tokens. Baseline: log2 of "
                f"{results.num_experts} experts = {number(results.entropy.max_entropy.iloc[0])}.",
                {ALL_LAYERS: entropy_figure(results.entropy)},
                results.entropy,
            )
        )
    panels += substrata_panels(results)
    if results.masked.empty:
        title, lead = (
            "Kinds of position",
            (
                "Nothing is masked here: a decoder predicts every token from those before it. "
                "Tokens that open and close texts are kept apart, so that they cannot pass for a "
                "topic."
            ),
        )
    else:
        title, lead = (
            "Masked and special positions",
            (
                "Masked language models route masked positions by themselves. They are kept apart "
                "here, so that the share of masks cannot pass for a topic."
            ),
        )
    return Section("masks", title, lead, panels)


def vocabulary_section(results: RoutingResults) -> Section:
    """E7: tokens by expert."""
    frame = results.vocabulary
    first = rows(frame)[0]
    panel = Panel(
        "vocabulary",
        "Vocabulary specialisation by layer",
        "Observed: the share of a token type's tokens that choose its favourite expert. Chance "
        "alone reaches the dashed floor; only the excess says something.",
        f"n = {first.types:,} token types seen at least 10 times ({first.tokens:,} tokens). Unit: "
        "share of choices, weighted by tokens. Baseline: every type routed by its layer's load.",
        {ALL_LAYERS: specialisation_figure(frame)},
        frame,
    )
    return Section(
        "vocabulary",
        "Vocabulary",
        "The tokens each expert is most enriched for, against its share of all tokens: types seen "
        "at least 10 times, ranked by the lower end of a 95% interval. ␣ is a space. Tokens count "
        "as independent here, so types from few documents look surer than they are.",
        [*([panel] if first.types else []), *class_panels(results)],
        cards={layer: _cards(results, layer) for layer in results.layers},
    )


def _cards(results: RoutingResults, layer: int) -> list[ExpertCard]:
    by_expert = dict(list(results.tokens[results.tokens.layer == layer].groupby("expert")))
    return [
        ExpertCard(
            expert_name(layer, expert),
            [
                (
                    row.token,
                    f"{percent(row.share)} of {row.tokens:,} tokens, base "
                    f"{percent(row.base_share)}; log2 ratio {number(row.log2_ratio, 2)}, "
                    f"{interval_text(row.low, row.high)}",
                )
                for row in rows(by_expert.get(expert, results.tokens.head(0)))
            ],
        )
        for expert in range(results.num_experts)
    ]


def _by_layer(
    frame: pd.DataFrame, draw: Callable[[pd.DataFrame], go.Figure]
) -> Mapping[str, go.Figure]:
    """Draws one figure per layer."""
    return {str(layer): draw(own) for layer, own in frame.groupby("layer", sort=False)}


def _topic_sizes(results: RoutingResults) -> str:
    sizes = results.cells.drop_duplicates("topic")
    fewest, most = int(sizes.documents.min()), int(sizes.documents.max())
    count = f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}"
    return (
        f"n = {count} documents per topic, {int(sizes.tokens.min()):,} to "
        f"{int(sizes.tokens.max()):,} untouched tokens."
    )
