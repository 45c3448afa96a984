"""Tokenizers: special ids, round trips, determinism, word starts, and what they refuse."""

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from moescope.configs.errors import UserError
from moescope.configs.schema_dataset import (
    BpeTokenizer,
    CharTokenizer,
    PretrainedTokenizer,
    WordPieceTokenizer,
)
from moescope.data_processors.tokenizers import (
    SPECIAL_TOKENS,
    TextEncoder,
    load_pretrained,
    tokenizer_facts,
    tokenizer_hash,
    train_tokenizer,
)

from .documents import TOPICS, make_texts

CONFIGS: dict[str, BpeTokenizer | WordPieceTokenizer | CharTokenizer] = {
    "bpe": BpeTokenizer(name="bpe", vocab_size=300, min_frequency=2, lowercase=False),
    "wordpiece": WordPieceTokenizer(
        name="wordpiece", vocab_size=120, min_frequency=2, lowercase=True
    ),
    "char": CharTokenizer(name="char", min_frequency=1),
}
KINDS = sorted(CONFIGS)
TEXTS = [text for seed, topic in enumerate(TOPICS) for text in make_texts(topic, 60, seed)]


def trained(kind: str) -> PreTrainedTokenizerFast:
    return train_tokenizer(
        CONFIGS[kind], lambda: iter([TEXTS[:50], TEXTS[50:]]), sequence_length=64
    )


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_come_first_and_frame_every_text(kind: str) -> None:
    tokenizer = trained(kind)
    assert tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS)) == [0, 1, 2, 3, 4]
    ids = tokenizer(TEXTS[0], truncation=True)["input_ids"]
    assert (ids[0], ids[-1]) == (2, 3)
    assert len(ids) <= tokenizer.model_max_length == 64
    facts = tokenizer_facts(tokenizer)
    assert (facts.pad_token_id, facts.cls_sep, facts.mask_token_id) == (0, (2, 3), 4)
    assert facts.replacement_ids.tolist() == list(range(5, len(tokenizer)))


@pytest.mark.parametrize("kind", KINDS)
def test_hash_survives_training_again_and_saving(kind: str, tmp_path: Path) -> None:
    first, second = trained(kind), trained(kind)
    assert tokenizer_hash(first) == tokenizer_hash(second)
    first.save_pretrained(tmp_path / "a")
    loaded = AutoTokenizer.from_pretrained(tmp_path / "a")
    loaded("something", truncation=True, padding="max_length", max_length=8)
    assert tokenizer_hash(loaded) == tokenizer_hash(first)
    loaded.save_pretrained(tmp_path / "b")
    assert tokenizer_hash(AutoTokenizer.from_pretrained(tmp_path / "b")) == tokenizer_hash(first)


def test_wordpiece_knows_every_character_of_the_text() -> None:
    tokenizer = trained("wordpiece")
    unknown = [text for text in TEXTS if tokenizer.unk_token_id in tokenizer(text)["input_ids"]]
    assert unknown == []
    assert tokenizer.decode(tokenizer("Nest, WINGS")["input_ids"][1:-1]) == "nest, wings"


def test_hash_tells_tokenizers_apart() -> None:
    assert len({tokenizer_hash(trained(kind)) for kind in KINDS}) == 3


@pytest.mark.parametrize("kind", ["bpe", "char"])
def test_text_survives_a_round_trip(kind: str) -> None:
    tokenizer = trained(kind)
    text = "the  wings,\n of a nest"
    tokenizer_input = text if kind == "bpe" else "".join(c for c in text if c != "\n")
    ids = tokenizer(tokenizer_input, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == tokenizer_input
    assert kind == "char" or tokenizer.unk_token_id not in tokenizer("é☃\x00")["input_ids"]


def test_rare_characters_are_unknown_and_special() -> None:
    tokenizer = trained("char")
    encoded = TextEncoder(tokenizer)(["a☃b"])
    assert encoded.input_ids.tolist()[1] == tokenizer.unk_token_id
    assert encoded.special.tolist() == [False, True, False]


@pytest.mark.parametrize("kind", KINDS)
def test_flat_encoding_equals_encoding_one_by_one(kind: str) -> None:
    tokenizer = trained(kind)
    texts = ["", *TEXTS[:20], "", "wings.wings (nest)"]
    encoded = TextEncoder(tokenizer)(texts)
    parts = np.split(np.arange(len(encoded.input_ids)), np.cumsum(encoded.lengths)[:-1])
    for text, part in zip(texts, parts, strict=True):
        expected = tokenizer(text, add_special_tokens=False)
        assert encoded.input_ids[part].tolist() == expected["input_ids"]
        words = (np.cumsum(encoded.word_starts[part]) - 1).tolist()
        assert words == expected.word_ids()


def test_spaces_start_words_where_the_tokenizer_does_not_split() -> None:
    pieces = ["[UNK]", "▁the", "▁nest", "ing", "▁"]
    backend = Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], unk_id=0))
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]")
    encoded = TextEncoder(tokenizer)(["the nesting the"])
    assert encoded.input_ids.tolist() == [1, 2, 3, 1]
    assert encoded.word_starts.tolist() == [True, True, False, True]


@pytest.mark.parametrize("kind", KINDS)
def test_text_cannot_smuggle_in_special_tokens(kind: str) -> None:
    encoded = TextEncoder(trained(kind))(["the [MASK] wings [SEP] [PAD]"])
    assert not set(encoded.input_ids.tolist()) & {0, 2, 3, 4}


@pytest.mark.parametrize("kind", ["bpe", "wordpiece"])
def test_vocabulary_above_what_the_text_supports_is_refused(kind: str) -> None:
    config = CONFIGS[kind].model_copy(update={"vocab_size": 5000})
    with pytest.raises(UserError, match=r"vocab_size=5000: .* supports \d+ types"):
        train_tokenizer(config, lambda: iter([TEXTS]), sequence_length=64)


def test_pretrained_loads_what_was_saved(tmp_path: Path) -> None:
    saved = trained("wordpiece")
    saved.save_pretrained(tmp_path)
    config = PretrainedTokenizer(name="pretrained", path=str(tmp_path))
    assert tokenizer_hash(load_pretrained(config, 64)) == tokenizer_hash(saved)
    with pytest.raises(UserError, match="sequence_length=65 is above the 64 tokens"):
        load_pretrained(config, 65)


def test_pretrained_without_a_mask_token_is_refused(tmp_path: Path) -> None:
    backend = trained("bpe").backend_tokenizer
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="[SEP]").save_pretrained(tmp_path)
    with pytest.raises(UserError, match="has no mask_token"):
        load_pretrained(PretrainedTokenizer(name="pretrained", path=str(tmp_path)), 64)


@pytest.mark.parametrize("path", ["/no/such/folder", "./none", "no-such-tokenizer"])
def test_pretrained_that_is_not_there_is_refused(path: str) -> None:
    with pytest.raises(UserError, match=f"tokenizer.path={path}"):
        load_pretrained(PretrainedTokenizer(name="pretrained", path=path), 64)


def test_a_decoders_tokenizer_serves_without_masks_alone(tmp_path: Path) -> None:
    bare = Tokenizer(models.BPE(vocab={"<end>": 0, "a": 1}, merges=[]))
    config = PretrainedTokenizer(name="pretrained", path=str(tmp_path))
    PreTrainedTokenizerFast(tokenizer_object=bare).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="no token that ends a text"):
        load_pretrained(config, 64, masked=False)
    PreTrainedTokenizerFast(tokenizer_object=bare, eos_token="<end>").save_pretrained(tmp_path)
    with pytest.raises(UserError, match="or set masking=none for a decoder"):
        load_pretrained(config, 64)
    facts = tokenizer_facts(load_pretrained(config, 64, masked=False))
    assert (facts.cls_sep, facts.pad_token_id, facts.mask_token_id) == ((0, 0), 0, -1)
    assert facts.replacement_ids.tolist() == [1]
