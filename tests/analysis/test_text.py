"""Text that reaches the page cannot be markup, and numbers read as people write them."""

import math

import pytest

from moescope.analysis.html.text import (
    count_range,
    expert_name,
    number,
    p_text,
    percent,
    plot_label,
    visible,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (" the", "␣the"),
        ("  ", "␣␣"),
        ("a b", "a b"),
        ("\n", "⏎"),
        ("\x00\x1b[0m", "\\u0000\\u001b[0m"),
        ("a\u202eb", "a\\u202eb"),
        ("\ud800", "\\ud800"),
        ("x" * 100, "x" * 59 + "…"),
    ],
)
def test_visible(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_plot_labels_hold_no_markup_and_isolate_right_to_left_text() -> None:
    assert plot_label("</script><b>x") == "&lt;/script&gt;&lt;b&gt;x"
    assert plot_label("שלום") == "\u2068שלום\u2069"


def test_numbers() -> None:
    assert number(0.012345) == "0.0123"
    assert number(-2.5, 2) == "−2.5"
    assert number(12345.6) == "12,346"
    assert number(math.nan) == "–"
    assert percent(0.1234) == "12%"
    assert expert_name(2, 5) == "L2·E5"
    assert [count_range(100, 100), count_range(90, 1100)] == ["100", "90 to 1,100"]


@pytest.mark.parametrize("value", [1e-17, -1e-17, 4e-7, -4e-9, 0.0, -0.0])
def test_what_rounds_to_nothing_is_zero_without_a_sign(value: float) -> None:
    assert number(value) == "0"
    assert percent(value / 100) == "0%"
    assert number(math.copysign(6e-7, value)).strip("−") == "0.000001"


def test_the_smallest_possible_p_is_a_bound() -> None:
    assert p_text(0.01, 99) == "p\u00a0≤\u00a00.01"
    assert p_text(0.02, 99) == "p\u00a0=\u00a00.020"
    assert p_text(math.nan, 99) == "no p-value"
