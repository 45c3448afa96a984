"""Token types read as text and have one class each, for three kinds of tokenizer."""

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from moescope.inference.recording.token_classes import TOKEN_CLASSES, classify
from moescope.inference.recording.token_types import choose_types, read_vocabulary

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TEXTS = [
    "The learning rate of 1990, and the array_like[0] == 3.14 (see numpy)!",
    "Learning the weights: naïve 中文 averaging is unlearning what was learnt, the end.",
] * 20


def trained(kind: str) -> PreTrainedTokenizerFast:
    if kind == "bpe":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=SPECIALS)
    elif kind == "wordpiece":
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=150, special_tokens=SPECIALS)
    else:
        tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
        trainer = trainers.WordLevelTrainer(special_tokens=SPECIALS)
    tokenizer.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


@pytest.mark.parametrize(
    ("word", "continues", "expected"),
    [
        ("  \n", False, "whitespace"),
        (" 1990", False, "digits"),
        ("3.14", False, "digits"),
        (" ==", False, "code_symbol"),
        ("[", True, "code_symbol"),
        ("_", False, "code_symbol"),
        (" (", False, "punctuation"),
        ("…", False, "punctuation"),
        ("The", True, "continuation"),
        (" The", False, "stop_word"),
        (" Tensor", False, "capitalised"),
        (" tensor", False, "other"),
        ("中", False, "other"),
    ],
)
def test_classes_follow_the_documented_order(word: str, continues: bool, expected: str) -> None:
    assert classify(word, continues_word=continues) == expected


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "char"])
def test_types_spell_the_text_they_came_from(kind: str) -> None:
    tokenizer = trained(kind)
    vocabulary = read_vocabulary(tokenizer, len(tokenizer) + 3)
    ids = tokenizer("The learning rate of 1990", add_special_tokens=False)["input_ids"]
    spelt = "".join(vocabulary.texts[i] for i in ids)
    assert spelt.replace(" ", "") == "Thelearningrateof1990"
    assert (spelt == "The learning rate of 1990") is (kind != "wordpiece")
    assert vocabulary.texts[-1] == "⟨unused⟩"
    names = [TOKEN_CLASSES[c] for c in vocabulary.classes]
    assert names[:5] == ["special"] * 4 + ["mask"]
    continuations = {t for t, n in zip(vocabulary.texts, names, strict=True) if n == "continuation"}
    assert bool(continuations) is (kind != "char")


def test_bytes_that_are_no_text_are_shown_as_bytes() -> None:
    tokenizer = trained("bpe")
    first_byte = tokenizer.convert_tokens_to_ids("ä")  # GPT-2's spelling of byte 0xe4 (中)
    vocabulary = read_vocabulary(tokenizer, len(tokenizer))
    assert vocabulary.texts[first_byte] == "⟨e4⟩"


def test_most_frequent_types_get_rows_and_special_ones_never() -> None:
    counts = np.array([90, 5, 0, 7, 7, 1])
    axis = choose_types(counts, max_types=3, special_ids=[0])
    assert axis.ids.tolist() == [3, 4, 1]
    assert axis.row_of_id.tolist() == [3, 2, 3, 0, 1, 3]
    assert choose_types(counts, max_types=99, special_ids=[0]).ids.tolist() == [3, 4, 1, 5]
