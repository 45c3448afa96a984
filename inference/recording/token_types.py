"""Token types: chooses those with a row of their own, makes them readable, finds their class."""

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase
from transformers.convert_slow_tokenizer import bytes_to_unicode

from .token_classes import class_table

OTHER, UNUSED = "other", "⟨unused⟩"


@dataclass(frozen=True)
class TypeAxis:
    """The V axis of the type tables.

    Attributes:
        ids: (V,) token ids with a row of their own, most frequent first.
        row_of_id: (vocabulary,) row of each token id; V for all others.
    """

    ids: np.ndarray
    row_of_id: np.ndarray


def choose_types(id_counts: np.ndarray, max_types: int, special_ids: list[int]) -> TypeAxis:
    """Gives the most frequent token ids a row of their own (ties: the smaller id first).

    Args:
        id_counts: (vocabulary,) occurrences in the split that is recorded.
        max_types: most rows.
        special_ids: never get a row; special tokens have rows of their own elsewhere.
    """
    counts = id_counts.copy()
    counts[special_ids] = 0
    order = np.argsort(-counts, kind="stable")[:max_types]
    ids = order[counts[order] > 0]
    row_of_id = np.full(len(counts), len(ids), dtype=np.int64)
    row_of_id[ids] = np.arange(len(ids))
    return TypeAxis(ids, row_of_id)


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer's types in readable form; index = token id.

    Attributes:
        texts: what a token adds to a text (" the"); bytes that are no text as "⟨e2 80⟩".
        continues_word: whether the token goes on with a word begun before it.
        classes: (vocabulary,) index into `token_classes.TOKEN_CLASSES`.
        special_ids: ids of special tokens.
    """

    texts: list[str]
    continues_word: list[bool]
    classes: np.ndarray
    special_ids: list[int]


def read_vocabulary(tokenizer: PreTrainedTokenizerBase, size: int) -> Vocabulary:
    """Reads the types of a fast tokenizer: byte-level BPE, WordPiece, SentencePiece, characters.

    Args:
        tokenizer: a fast tokenizer.
        size: ids in the model's vocabulary; ids without a token read as "⟨unused⟩".
    """
    token_of = {token_id: token for token, token_id in tokenizer.get_vocab().items()}
    special = {int(i) for i in tokenizer.all_special_ids if i < size}
    scheme = _scheme(tokenizer, [t for i, t in token_of.items() if i not in special])
    texts, continues = [], []
    for token_id in range(size):
        token = token_of.get(token_id, UNUSED)
        as_it_is = token_id in special or token == UNUSED
        text, begun = (token, False) if as_it_is else _read(token, scheme)
        texts.append(text)
        continues.append(begun)
    special_ids = sorted(special)
    classes = class_table(
        texts, continues, special_ids=special_ids, mask_id=tokenizer.mask_token_id
    )
    return Vocabulary(texts, continues, classes, special_ids)


def _scheme(tokenizer: PreTrainedTokenizerBase, tokens: list[str]) -> str:
    """Names how tokens spell text: "bytes", "wordpiece", "metaspace" or "characters"."""
    backend: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    if '"ByteLevel"' in json.dumps([backend["pre_tokenizer"], backend["decoder"]]):
        return "bytes"
    if backend["model"]["type"] == "WordPiece":
        return "wordpiece"
    return "characters" if all(len(token) == 1 for token in tokens) else "metaspace"


def _read(token: str, scheme: str) -> tuple[str, bool]:
    """Returns (readable text, continues a word)."""
    if scheme == "wordpiece":
        return token.removeprefix("##"), token.startswith("##")
    if scheme == "characters":
        return token, False
    text = _decode_bytes(token) if scheme == "bytes" else token.replace("▁", " ")
    return text, text[:1].isalnum()


@cache
def _byte_of() -> dict[str, int]:
    """Returns the byte that each character of byte-level BPE stands for (GPT-2's table)."""
    return {character: byte for byte, character in bytes_to_unicode().items()}


def _decode_bytes(token: str) -> str:
    byte_of = _byte_of()
    try:
        raw = bytes(byte_of[character] for character in token)
    except KeyError:  # an added token is spelt as it is
        return token
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return f"⟨{raw.hex(' ')}⟩"
