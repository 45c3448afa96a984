"""Answers on a terminal: each token in the colour of its first expert, or a table without colour.

Nothing of a prompt or a vocabulary reaches the terminal as a control sequence.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from rich.style import Style
from rich.text import Text

from ...configs.terminal import printable
from ..checkpoints.loaded_model import TokenUse
from .fill_mask import Candidate

# Okabe and Ito's colours, told apart with every common colour blindness; (background, text)
PALETTE = (
    ("#E69F00", "#000000"),
    ("#56B4E9", "#000000"),
    ("#009E73", "#000000"),
    ("#F0E442", "#000000"),
    ("#0072B2", "#FFFFFF"),
    ("#D55E00", "#000000"),
    ("#CC79A7", "#000000"),
    ("#999999", "#000000"),
)
SHAPES = (
    Style(),
    Style(underline=True),
    Style(bold=True),
    Style(italic=True),
    Style(bold=True, underline=True),
    Style(italic=True, underline=True),
    Style(bold=True, italic=True),
    Style(bold=True, italic=True, underline=True),
)
LEGEND_EXPERTS = 16
Show = Literal["colours", "table", "text"]


def expert_style(expert: int) -> Style:
    """Returns an expert's look: 8 colours times 8 shapes of type, alike again after 64."""
    background, colour = PALETTE[expert % len(PALETTE)]
    shape = SHAPES[expert // len(PALETTE) % len(SHAPES)]
    return shape + Style(bgcolor=background, color=colour)


class AnswerView:
    """Formats one answer's tokens for the terminal.

    Args:
        show: "colours", "table" (the text, then a row per token), or "text".
        layers: layer numbers of the model's experts; [] = none to show.
        layer: the one that is shown.
    """

    def __init__(self, show: Show, layers: Sequence[int], layer: int) -> None:
        self._layer = layer
        self._show: Show = show if layers else "text"
        self._index = list(layers).index(layer) if layers else -1
        self._uses: list[TokenUse] = []

    def add(self, use: TokenUse) -> Text:
        """Returns what a token adds to the text."""
        text = Text(printable(use.text))
        if self._show == "colours":
            if chosen := self._experts(use):
                text.stylize(expert_style(chosen[0]))
            if not use.is_prompt and self._uses[-1].is_prompt:
                text = Text.assemble(("│", "dim"), text)  # here the prompt ends
        self._uses.append(use)
        return text

    def closing(self, masks: Sequence[Sequence[Candidate]]) -> Text:
        """Returns the lines below the text: candidates of each mask, legend or table."""
        lines = []
        for number, offered in enumerate(masks, start=1):
            shown = "  ".join(f"{_quoted(c.token)} {100 * c.probability:.1f} %" for c in offered)
            lines.append(Text(f"mask {number}: {shown}"))
        if self._show == "colours":
            lines.append(self._legend())
        elif self._show == "table":
            lines += self._table()
        return Text("\n").join(lines)

    def _experts(self, use: TokenUse) -> list[int]:
        return use.experts[self._index]

    def _legend(self) -> Text:
        counts = Counter(chosen[0] for use in self._uses if (chosen := self._experts(use)))
        legend = Text(f"layer {self._layer}, first expert of each token:")
        for expert, count in counts.most_common(LEGEND_EXPERTS):
            legend.append("  ")
            legend.append(f" {expert} ", expert_style(expert))
            legend.append(f" {count}")
        if len(counts) > LEGEND_EXPERTS:
            legend.append(f"  and {len(counts) - LEGEND_EXPERTS} more")
        return legend

    def _table(self) -> list[Text]:
        tokens = [_quoted(use.token) for use in self._uses]
        width = max(len("token"), *map(len, tokens))
        lines = [f"\n{'token':<{width}}  experts of layer {self._layer} (weight)"]
        for token, use in zip(tokens, self._uses, strict=True):
            chosen = zip(use.experts[self._index], use.weights[self._index], strict=True)
            experts = "  ".join(f"{expert} ({weight:.2f})" for expert, weight in chosen)
            lines.append(f"{token:<{width}} {' ' if use.is_prompt else '+'}{experts or '-'}")
        return [Text(line) for line in lines]


def _quoted(token: str) -> str:
    return f"'{printable(token)}'".replace("\n", "↵").replace("\t", "⇥")
