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
from collections.abc import Callable, Sequence

import numpy as np
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

CODE_SYMBOLS = frozenset("_=+*/\\<>{}[]|&^%$#@~`")
_NUMBER = re.compile(r"\d[\d.,:/-]*")

Test = Callable[[str, bool], bool]  # (text without spaces around it, whether it continues a word)


def _is_symbolic(word: str) -> bool:
    return not any(character.isalnum() for character in word)


def _is_capitalised(word: str) -> bool:
    return next((letter.isupper() for letter in word if letter.isalpha()), False)


CONTENT_CLASSES: dict[str, Test] = {
    "whitespace": lambda word, _: not word,
    "digits": lambda word, _: bool(_NUMBER.fullmatch(word)),
    "code_symbol": lambda word, _: _is_symbolic(word) and bool(CODE_SYMBOLS & set(word)),
    "punctuation": lambda word, _: _is_symbolic(word),
    "continuation": lambda _, continues_word: continues_word,
    "stop_word": lambda word, _: word.lower() in ENGLISH_STOP_WORDS,
    "capitalised": lambda word, _: _is_capitalised(word),
    "other": lambda word, _: True,
}  # in the order in which they are tried
TOKEN_CLASSES = ["mask", "special", *CONTENT_CLASSES]


def add_token_class(name: str, fits: Callable[[str], bool], before: str) -> None:
    """Adds a class of content tokens.

    Args:
        name: of the class.
        fits: whether a token's readable text, without spaces around it, belongs to it.
        before: the class that is asked after it.

    Raises:
        ValueError: there is a class of that name, or none named `before`.
    """
    later = list(CONTENT_CLASSES)[1:]
    if name in TOKEN_CLASSES:
        raise ValueError(f"there is a token class named {name!r}")
    if before not in later:
        raise ValueError(f"no token class is named {before!r}; choose one of {', '.join(later)}")
    TOKEN_CLASSES.insert(TOKEN_CLASSES.index(before), name)
    tests = CONTENT_CLASSES | {name: lambda word, _: fits(word)}
    CONTENT_CLASSES.clear()
    CONTENT_CLASSES.update((own, tests[own]) for own in TOKEN_CLASSES[2:])


def classify(text: str, *, continues_word: bool) -> str:
    """Returns the class of a content token from its readable text."""
    word = text.strip()
    return next(name for name, fits in CONTENT_CLASSES.items() if fits(word, continues_word))


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
