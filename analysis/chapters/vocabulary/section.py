"""The chapter on vocabulary: the tokens each expert is chosen for."""

import pandas as pd

from ...data.design import Design
from ...html.page import (
    ALL_LAYERS,
    ExpertCard,
    Panel,
    Section,
)
from ...html.records import rows
from ...html.text import (
    expert_name,
    interval_text,
    number,
    percent,
)
from .figures import specialisation_figure
from .measures import VocabularyRecord as Record


def vocabulary_section(record: Record, design: Design) -> Section:
    """E7: tokens by expert."""
    frame = record.vocabulary
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
        subject="vocabulary",
        is_main=True,
    )
    return Section(
        "vocabulary",
        "Vocabulary",
        "The tokens each expert is most enriched for, against its share of all tokens: types seen "
        "at least 10 times, ranked by the lower end of a 95% interval. ␣ is a space. Tokens count "
        "as independent here, so types from few documents look surer than they are.",
        [panel] if first.types else [],
        search=token_experts(record.tokens),
        tables={"top-tokens": record.tokens},
        cards={layer: _cards(record, design, layer) for layer in design.layers},
    )


def _cards(record: Record, design: Design, layer: int) -> list[ExpertCard]:
    by_expert = dict(list(record.tokens[record.tokens.layer == layer].groupby("expert")))
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
                for row in rows(by_expert.get(expert, record.tokens.head(0)))
            ],
        )
        for expert in range(design.num_experts)
    ]


def token_experts(tokens: pd.DataFrame) -> dict[str, list[tuple[int, int]]]:
    """Lists, for the search, the experts that each of the top tokens goes to, the surest first."""
    by_token = tokens.sort_values("low", ascending=False).groupby("token", sort=True)
    return {str(token): [(row.layer, row.expert) for row in rows(own)] for token, own in by_token}
