"""A cheap guess at a text's script and, for Latin letters, its language by its commonest words."""

import re
import unicodedata
from collections import Counter

UNKNOWN = "unknown"
READ_CHARACTERS = 2_000
FEWEST_WORDS, LEAST_SHARE = 5, 0.08  # of a language's own words, to name it
COMMON_WORDS = {
    "English": "the of and to in is that it for was with as be on not this are by",
    "German": "der die und das ist nicht den von zu mit sich auf ein eine dem auch",
    "French": "le la les et des est une dans que pas pour qui sur plus par avec il",
    "Spanish": "el los las y es en que una por con para no se del su como más",
    "Italian": "il di che è non un una per della sono con del nel gli più anche si",
    "Portuguese": "o os as e é em que uma não com para do da se mais por dos",
    "Dutch": "de het een en van is dat niet op te met voor zijn aan er ook",
    "Swedish": "och att det som en är på av för den med inte ett till jag har",
    "Danish": "og at det er en til på af for ikke der den med jeg har et",
    "Polish": "i w nie na się z jest to że do co jak ale po od za",
    "Finnish": "ja on ei se että hän oli ovat myös kun mutta niin joka tai sen",
    "Turkish": "ve bir bu için ile da de çok ne gibi daha olarak en ama var olan",
}
_WORDS = {language: frozenset(words.split()) for language, words in COMMON_WORDS.items()}
_WORD = re.compile(r"[^\W\d_]+")


def script_of(text: str) -> str:
    """Names the script of most letters, e.g. "Latin" or "Cyrillic"; "unknown" without letters."""
    letters = Counter(
        unicodedata.name(character, UNKNOWN).split()[0].capitalize()
        for character in text[:READ_CHARACTERS]
        if character.isalpha()
    )
    return letters.most_common(1)[0][0] if letters else UNKNOWN


def language_of(text: str) -> str:
    """Guesses the language of a Latin text; any other is named by its script.

    The language of which most words are among its 15 or so commonest, if there are five of them
    and 8% of all; "unknown" otherwise, as for code or lists.
    """
    script = script_of(text)
    if script != "Latin":
        return script
    words = [word.lower() for word in _WORD.findall(text[:READ_CHARACTERS])]
    hits = {name: sum(word in own for word in words) for name, own in _WORDS.items()}
    best = max(hits, key=lambda name: hits[name])
    enough = hits[best] >= FEWEST_WORDS and hits[best] >= LEAST_SHARE * len(words)
    return best if enough else UNKNOWN
