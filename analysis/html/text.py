"""Names for people: expert ids, numbers with their uncertainty, and text that may be hostile."""

import math
import unicodedata

import pandas as pd

MAX_LABEL = 60  # characters of a label before it is cut

INVISIBLE = {"\n": "⏎", "\t": "⇥", "\r": "␍", " ": "␣"}


def expert_name(layer: int, expert: int) -> str:
    """Names an expert within its layer, e.g. "L2·E5": the number alone means nothing."""
    return f"L{layer}·E{expert}"


def visible(text: str, limit: int = MAX_LABEL) -> str:
    """Makes every character of a token or topic visible and harmless to look at.

    Control, format and surrogate characters become their code point; outer white space and line
    breaks become symbols; long text is cut with an ellipsis.
    """
    text = str(text)
    body = text.strip(" ")
    spaces = len(text) - len(text.lstrip(" ")), len(text) - len(text.rstrip(" "))
    if not body:
        shown = INVISIBLE[" "] * len(text)
    else:
        middle = "".join(_visible_character(character) for character in body)
        shown = INVISIBLE[" "] * spaces[0] + middle + INVISIBLE[" "] * spaces[1]
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def printable(text: str) -> str:
    """Makes the characters of a text harmless that would not print; spaces stay, lines break."""
    shown = (_visible_character(character) for character in text)
    line_break = INVISIBLE["\n"]
    return "".join(f"{line_break}\n" if part == line_break else part for part in shown)


def _visible_character(character: str) -> str:
    if character in INVISIBLE:
        return character if character == " " else INVISIBLE[character]
    if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"):
        return f"\\u{ord(character):04x}"
    return character


def plot_label(text: str, limit: int = MAX_LABEL) -> str:
    """Escapes text for plotly, which reads a subset of HTML in labels and hover text.

    Directional isolates keep right-to-left text from turning its neighbours around.
    """
    shown = visible(text, limit).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    has_rtl = any(unicodedata.bidirectional(character) in ("R", "AL") for character in shown)
    return f"\u2068{shown}\u2069" if has_rtl else shown


def number(value: float, digits: int = 3) -> str:
    """Formats with so many significant digits and at most 6 decimals; "0" if nothing is left."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    places = min(6, max(0, digits - 1 - math.floor(math.log10(abs(value)))))
    if round(value, places) == 0:
        return "0"
    return f"{value:,.{places}f}".replace("-", "−")


def percent(share: float, digits: int = 2) -> str:
    """Formats a share in percent with so many significant digits."""
    return f"{number(100 * share, digits)}%" if math.isfinite(share) else "–"


def count_range(fewest: int, most: int) -> str:
    """Formats counts from a fewest to a most, e.g. "90 to 100"; "100" where all are the same."""
    return f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}"


def percent_range(low: float, high: float) -> str:
    """Formats shares from a smallest to a largest; one where both read alike."""
    return " to ".join(dict.fromkeys((percent(low), percent(high))))


def interval_text(low: float, high: float, digits: int = 2) -> str:
    """Formats a 95% interval."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return "no interval"
    return f"95% interval {number(low, digits)} to {number(high, digits)}"


def percent_interval(low: float, high: float, digits: int = 2) -> str:
    """Formats a 95% interval of a share."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return "no interval"
    return f"95% interval {percent(low, digits)} to {percent(high, digits)}"


def p_text(p_value: float, permutations: int) -> str:
    """Formats a permutation p-value; at its smallest possible value it is a bound."""
    if not math.isfinite(p_value):
        return "no p-value"
    smallest = 1 / (permutations + 1)
    if p_value <= smallest * 1.0001:
        return f"p\u00a0≤\u00a0{number(smallest, 1)}"
    return f"p\u00a0=\u00a0{number(p_value, 2)}"


def listing(items: list[str]) -> str:
    """Joins words as a sentence does: "a", "a and b", "a, b and c"."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def units_text(groups: int, documents: int) -> str:
    """Says how many independent units there are: "96 documents", or "24 groups (96 documents)"."""
    if groups == documents:
        return f"{documents:,} documents"
    return f"{groups:,} groups ({documents:,} documents)"


def topic_sizes(cells: pd.DataFrame) -> str:
    """Says how much text is behind each topic: n in groups, documents and tokens."""
    sizes = cells.drop_duplicates("topic")
    groups = f"{count_range(sizes.groups.min(), sizes.groups.max())} groups, "
    return (
        f"n = {'' if sizes.groups.equals(sizes.documents) else groups}"
        f"{count_range(sizes.documents.min(), sizes.documents.max())} documents per topic, "
        f"{int(sizes.tokens.min()):,} to {int(sizes.tokens.max()):,} untouched tokens."
    )
