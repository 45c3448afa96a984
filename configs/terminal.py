"""What others wrote, made safe for a terminal."""

import unicodedata


def printable(text: str) -> str:
    """Replaces what could steer a terminal or turn the reading direction by signs for it.

    Line breaks and tabs stay. C0 controls become their Unicode pictures ("␛"), other controls,
    format characters of bidirectional text, and lone surrogates their number ("⟨9b⟩").
    """
    return "".join(_sign(character) for character in text)


def _sign(character: str) -> str:
    if character in "\n\t":
        return character
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    turns = unicodedata.bidirectional(character) in {
        *("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    }
    if turns or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp"):
        return f"⟨{code:x}⟩"
    return character
