"""The look of experts: legible, told apart, and the same signs in every place."""

import io

import pytest
from rich.color import Color
from rich.console import Console

from moescope.configs.terminal import printable
from moescope.inference.checkpoints.loaded_model import TokenUse
from moescope.inference.generation.fill_mask import Candidate
from moescope.inference.generation.token_colours import (
    LEGEND_EXPERTS,
    PALETTE,
    AnswerView,
    expert_style,
)


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2."""
    channels = [channel / 255 for channel in Color.parse(colour).get_truecolor()]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(("background", "text"), PALETTE)
def test_text_stands_out_from_its_background(background: str, text: str) -> None:
    low, high = sorted([luminance(background), luminance(text)])
    assert (high + 0.05) / (low + 0.05) >= 4.5


def test_64_experts_look_different() -> None:
    assert len({str(expert_style(expert)) for expert in range(64)}) == 64


def use(text: str, experts: list[list[int]], *, is_prompt: bool = False) -> TokenUse:
    weights = [[0.5] * len(layer) for layer in experts]
    return TokenUse(1, text, text, is_prompt, False, experts, weights)


def test_a_tokens_colour_is_its_first_expert_at_the_chosen_layer() -> None:
    view = AnswerView("colours", [1, 3], 3)
    pieces = [
        view.add(use("a", [[5, 1], [2, 0]], is_prompt=True)),
        view.add(use("b", [[5, 1], [0, 2]])),
        view.add(use("c", [[5, 1], []])),  # every slot dropped
    ]
    assert [piece.plain for piece in pieces] == ["a", "│b", "c"]
    assert pieces[0].spans[0].style == expert_style(2)
    assert expert_style(0) in [span.style for span in pieces[1].spans]
    assert not pieces[2].spans
    legend = view.closing([])
    assert legend.plain == "layer 3, first expert of each token:   2  1   0  1"


def test_a_long_legend_says_what_it_leaves_out() -> None:
    view = AnswerView("colours", [0], 0)
    for expert in range(LEGEND_EXPERTS + 5):
        view.add(use("x", [[expert]], is_prompt=True))
    assert view.closing([]).plain.endswith("and 5 more")


def test_the_table_has_a_row_per_token_and_marks_what_is_new() -> None:
    view = AnswerView("table", [0], 0)
    view.add(use("a\n", [[3, 1]], is_prompt=True))
    view.add(use("\tb", [[]]))
    offered = [[Candidate(7, " rank", 0.25)]]
    assert view.closing(offered).plain.splitlines() == [
        "mask 1: ' rank' 25.0 %",
        "",
        "token  experts of layer 0 (weight)",
        "'a↵'   3 (0.50)  1 (0.50)",
        "'⇥b'  +-",
    ]


def test_markup_in_a_token_is_text() -> None:
    console = Console(file=io.StringIO(), width=80)
    console.print(AnswerView("text", [], -1).add(use("[bold]x[/bold]", [])), end="")
    assert console.file.getvalue() == "[bold]x[/bold]"  # type: ignore[attr-defined]


def test_signs_for_what_could_steer_a_terminal() -> None:
    assert printable("a\tb\n\x1b[0m\x00\x7f\x9b\u202e\u2028\ud800é日") == (
        "a\tb\n␛[0m␀⟨7f⟩⟨9b⟩⟨202e⟩⟨2028⟩⟨d800⟩é日"
    )
