"""Classes of token types: what a token is by its form, whatever the tokenizer.

Every type has exactly one class, the first in this order that fits:

- `mask`: the mask token; `special`: any other special token; `whitespace`: nothing else in it;
- `digits`: digits, with separators between or after them ("1990", "3.14");
- `code_symbol`: no letter or digit, and at least one of `CODE_SYMBOLS`;
- `punctuation`: no letter or digit otherwise;
- `continuation`: goes on with a word that an earlier token began (never for character tokenizers);
- `stop_word`: scikit-learn's English list; `capitalised`: its first letter is upper case; `other`.

The classes look at a type alone, so a word that starts a text without a space before it counts as
a continuation where spaces mark word starts (byte-level BPE, SentencePiece).
"""

import re
from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

TOKEN_CLASSES = (
    "mask",
    "special",
    "whitespace",
    "digits",
    "code_symbol",
    "punctuation",
    "continuation",
    "stop_word",
    "capitalised",
    "other",
)
CODE_SYMBOLS = frozenset("_=+*/\\<>{}[]|&^%$#@~`")
_NUMBER = re.compile(r"\d[\d.,:/-]*")


def classify(text: str, *, continues_word: bool) -> str:
    """Returns the class of a content token from its readable text."""
    word = text.strip()
    if not word:
        return "whitespace"
    if _NUMBER.fullmatch(word):
        return "digits"
    if not any(character.isalnum() for character in word):
        return "code_symbol" if CODE_SYMBOLS & set(word) else "punctuation"
    if continues_word:
        return "continuation"
    if word.lower() in ENGLISH_STOP_WORDS:
        return "stop_word"
    letters = [character for character in word if character.isalpha()]
    return "capitalised" if letters and letters[0].isupper() else "other"


def class_table(
    texts: Sequence[str],
    continues_word: Sequence[bool],
    *,
    special_ids: Sequence[int],
    mask_id: int | None,
) -> np.ndarray:
    """Returns the class of every token id, (vocabulary,) int64 indices into `TOKEN_CLASSES`.

    Args:
        texts: readable text of each id.
        continues_word: whether each id goes on with a word.
        special_ids: ids of special tokens.
        mask_id: id of the mask token.
    """
    index = {name: number for number, name in enumerate(TOKEN_CLASSES)}
    classes = np.array(
        [
            index[classify(text, continues_word=continues)]
            for text, continues in zip(texts, continues_word, strict=True)
        ],
        dtype=np.int64,
    )
    classes[list(special_ids)] = index["special"]
    if mask_id is not None:
        classes[mask_id] = index["mask"]
    return classes
