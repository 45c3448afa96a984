"""Tokenizers, trained on the corpus or pretrained, and what masking has to know of them."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from ..configs.errors import UserError
from ..configs.manifest import digest
from ..configs.schema_dataset import (
    BpeTokenizer,
    CharTokenizer,
    PretrainedTokenizer,
    WordPieceTokenizer,
)

PAD, UNK, CLS, SEP, MASK = SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
Texts = Callable[[], Iterator[list[str]]]  # batches of texts, from the start at every call
SPACE_MARKS = ("▁", "Ġ")  # SentencePiece's and byte-level BPE's sign for a space before


@dataclass(frozen=True)
class TokenizerFacts:
    """What masking needs to know of a tokenizer; small and picklable.

    Attributes:
        mask_token_id: −1 for a tokenizer without a mask.
        cls_sep: ids that open and close a segment: the tokenizer's [CLS] and [SEP], or the tokens
            with which it begins and ends texts.
        replacement_ids: (V,) every token id that is not special, ascending.
    """

    mask_token_id: int
    pad_token_id: int
    cls_sep: tuple[int, int]
    replacement_ids: NDArray[np.int32]


def tokenizer_facts(tokenizer: PreTrainedTokenizerBase) -> TokenizerFacts:
    """Collects the ids that masking writes and those that it may draw."""
    special = set(tokenizer.all_special_ids)
    ordinary = sorted(set(tokenizer.get_vocab().values()) - special)
    end = _first_id(tokenizer.sep_token_id, tokenizer.eos_token_id)
    begin = _first_id(tokenizer.cls_token_id, tokenizer.bos_token_id, end)
    return TokenizerFacts(
        mask_token_id=_first_id(tokenizer.mask_token_id, -1),
        pad_token_id=_first_id(tokenizer.pad_token_id, end),
        cls_sep=(begin, end),
        replacement_ids=np.array(ordinary, np.int32),
    )


def _first_id(*ids: int | None) -> int:
    return next(i for i in ids if i is not None)


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """Hashes what decides ids: equal for two tokenizers that give every text the same ids."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    for setting in ("truncation", "padding"):
        state.pop(setting, None)
    return digest([state, tokenizer.special_tokens_map])


def train_tokenizer(
    config: BpeTokenizer | WordPieceTokenizer | CharTokenizer,
    texts: Texts,
    sequence_length: int,
) -> PreTrainedTokenizerFast:
    """Trains a tokenizer: special tokens get ids 0 to 4, every text becomes `[CLS] ... [SEP]`.

    The same texts give the same tokenizer.

    Raises:
        UserError: the text supports fewer types than `vocab_size`.
    """
    match config:
        case BpeTokenizer():
            tokenizer = _train_bpe(config, texts)
        case WordPieceTokenizer():
            tokenizer = _train_wordpiece(config, texts)
        case CharTokenizer():
            tokenizer = _train_char(config, texts)
    size = tokenizer.get_vocab_size()
    if not isinstance(config, CharTokenizer) and size < config.vocab_size:
        raise UserError(
            f"tokenizer.vocab_size={config.vocab_size}: the training split supports {size} types "
            f"only (min_frequency={config.min_frequency}); set tokenizer.vocab_size={size} or less"
        )
    ids = [(token, tokenizer.token_to_id(token)) for token in (CLS, SEP)]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{CLS} $A {SEP}", pair=f"{CLS} $A {SEP} $B:1 {SEP}:1", special_tokens=ids
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=sequence_length,
        pad_token=PAD,
        unk_token=UNK,
        cls_token=CLS,
        sep_token=SEP,
        mask_token=MASK,
        clean_up_tokenization_spaces=False,
    )


def _train_bpe(config: BpeTokenizer, texts: Texts) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    if config.lowercase:
        tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        min_frequency=config.min_frequency,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(), trainer)
    return tokenizer


def _train_wordpiece(config: WordPieceTokenizer, texts: Texts) -> Tokenizer:
    """Trains WordPiece with fixed ids for the characters that continue a word.

    The library numbers them as it meets them in a hash table, and breaks ties by number: left
    to itself it gives another vocabulary every time. Tokens that are named up front keep their
    order, but count as special ones; hence the second tokenizer, with the vocabulary alone.
    """
    normalizer = normalizers.BertNormalizer(lowercase=config.lowercase)
    pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    characters: set[str] = set()
    for batch in texts():
        characters.update("".join(batch))
    characters = set(normalizer.normalize_str(" ".join(sorted(characters))))
    inside_words = [
        f"##{character}"
        for character in sorted(characters)
        if len(pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(f"a{character}a"))) == 1
    ]
    trained = Tokenizer(models.WordPiece(unk_token=UNK))
    trained.normalizer, trained.pre_tokenizer = normalizer, pre_tokenizer
    trainer = trainers.WordPieceTrainer(
        vocab_size=config.vocab_size,
        min_frequency=config.min_frequency,
        special_tokens=[*SPECIAL_TOKENS, *inside_words],
        show_progress=False,
    )
    trained.train_from_iterator(texts(), trainer)
    tokenizer = Tokenizer(models.WordPiece(vocab=trained.get_vocab(), unk_token=UNK))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, pre_tokenizer
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return tokenizer


def _train_char(config: CharTokenizer, texts: Texts) -> Tokenizer:
    """Makes BPE without merges: types are characters, words runs of letters, spaces or signs."""
    counts: Counter[str] = Counter()
    for batch in texts():
        counts.update("".join(batch))
    seen = sorted(char for char, count in counts.items() if count >= config.min_frequency)
    vocabulary = {token: number for number, token in enumerate([*SPECIAL_TOKENS, *seen])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token=UNK))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\w+|\s+|[^\w\s]+"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return tokenizer


def load_pretrained(
    config: PretrainedTokenizer, sequence_length: int, *, masked: bool = True
) -> PreTrainedTokenizerFast:
    """Loads a tokenizer and checks that it serves masked (or causal) language modelling.

    Raises:
        UserError: nothing to load, no fast tokenizer, a special token is missing, or
            `sequence_length` is above what it was made for.
    """
    place = f"tokenizer.path={config.path}"
    if config.path.startswith(("/", ".", "~")) and not Path(config.path).is_dir():
        raise UserError(f"{place}: no such folder; give one with tokenizer.json, or a hub name")
    try:
        tokenizer = AutoTokenizer.from_pretrained(config.path, trust_remote_code=False)
    except Exception as error:  # the loader's many kinds, all about what lies at the path
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise UserError(f"{place}: no tokenizer can be loaded from there ({reason})") from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise UserError(f"{place}: has no fast tokenizer (tokenizer.json)")
    if not masked and tokenizer.sep_token is None and tokenizer.eos_token is None:
        raise UserError(f"{place}: has no token that ends a text (eos_token)")
    for role in ("mask_token", "pad_token", "cls_token", "sep_token") if masked else ():
        if getattr(tokenizer, role) is None:
            raise UserError(
                f"{place}: has no {role}, which masked language modelling needs; choose an "
                "encoder's tokenizer (BERT, RoBERTa, ModernBERT, ...), train one, or set "
                "masking=none for a decoder"
            )
    if sequence_length > tokenizer.model_max_length:
        raise UserError(
            f"dataset.sequence_length={sequence_length} is above the {tokenizer.model_max_length} "
            f"tokens of {place}"
        )
    return tokenizer


@dataclass(frozen=True)
class EncodedTexts:
    """Texts laid end to end, without special tokens around them.

    Attributes:
        input_ids: (N,).
        word_starts: (N,) the token begins a word.
        special: (N,) the token is a special one, such as [UNK].
        lengths: (D,) tokens of each text.
    """

    input_ids: NDArray[np.int32]
    word_starts: NDArray[np.bool_]
    special: NDArray[np.bool_]
    lengths: NDArray[np.int64]


class TextEncoder:
    """Encodes batches of texts into flat arrays.

    A word begins where the tokenizer's own pre-tokenizer begins one, and at every token that
    carries a mark for a space before it (for tokenizers that do not split at spaces).
    Text that looks like a special token ("[MASK]") is encoded as ordinary text.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._backend.encode_special_tokens = True
        self._backend.no_truncation()
        self._backend.no_padding()
        size = max(tokenizer.get_vocab().values()) + 1
        self._spaced, self._special = np.zeros(size, bool), np.zeros(size, bool)
        for token, number in tokenizer.get_vocab().items():
            self._spaced[number] = token.startswith(SPACE_MARKS)
        self._special[tokenizer.all_special_ids] = True

    def __call__(self, texts: list[str]) -> EncodedTexts:
        encodings = self._backend.encode_batch(texts, add_special_tokens=False)
        lengths = np.fromiter(map(len, encodings), np.int64, len(encodings))
        input_ids, words = np.empty((2, lengths.sum()), np.int32)
        end = 0
        for encoding in encodings:
            start, end = end, end + len(encoding)
            input_ids[start:end] = encoding.ids
            words[start:end] = encoding.word_ids
        word_starts = self._spaced[input_ids]
        word_starts[1:] |= np.diff(words) != 0
        word_starts[(np.cumsum(lengths) - lengths)[lengths > 0]] = True
        return EncodedTexts(input_ids, word_starts, self._special[input_ids], lengths)
