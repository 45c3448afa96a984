"""Config of the mask stage: tokenizer, masking, windows."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from .section import Section


class BpeTokenizer(Section):
    """Byte-level BPE, trained on the corpus' training split."""

    name: Literal["bpe"]
    vocab_size: int = Field(ge=264, le=1_000_000, description="types, special tokens included")
    min_frequency: int = Field(
        ge=1, le=1_000_000_000, description="merges seen less often are not learnt"
    )
    lowercase: bool = Field(description="fold case before splitting")


class WordPieceTokenizer(Section):
    """WordPiece (BERT's), trained on the corpus' training split."""

    name: Literal["wordpiece"]
    vocab_size: int = Field(ge=100, le=1_000_000, description="types, special tokens included")
    min_frequency: int = Field(
        ge=1, le=1_000_000_000, description="merges seen less often are not learnt"
    )
    lowercase: bool = Field(description="fold case and strip accents")


class CharTokenizer(Section):
    """One token per character seen in the corpus' training split."""

    name: Literal["char"]
    min_frequency: int = Field(ge=1, le=1_000_000_000, description="rarer characters become [UNK]")


class PretrainedTokenizer(Section):
    """Any tokenizer of the hub or a local folder."""

    name: Literal["pretrained"]
    path: str = Field(description="folder or hub name that AutoTokenizer loads")


Tokenizer = Annotated[
    BpeTokenizer | WordPieceTokenizer | CharTokenizer | PretrainedTokenizer,
    Field(discriminator="name"),
]


class MaskingShares(Section):
    """What masking strategies share: how many tokens are selected, and what becomes of them."""

    probability: float = Field(gt=0, lt=1, description="share of content tokens selected")
    mask_share: float = Field(ge=0, le=1, description="of the selected: replaced by [MASK]")
    random_share: float = Field(
        ge=0, le=1, description="of the selected: replaced at random; the rest stays as it is"
    )

    @model_validator(mode="after")
    def _shares_are_shares(self) -> "MaskingShares":
        total = self.mask_share + self.random_share
        if total > 1 + 1e-6:
            raise ValueError(f"mask_share + random_share is {total:g}; they are shares of 1")
        return self


class TokenMasking(MaskingShares):
    """Each content token on its own."""

    name: Literal["token"]


class WholeWordMasking(MaskingShares):
    """All tokens of a word together."""

    name: Literal["whole_word"]


class SpanMasking(MaskingShares):
    """Runs of words of geometric length (SpanBERT, arXiv 1907.10529)."""

    name: Literal["span"]
    mean_words: float = Field(
        ge=1, le=1000, description="mean span length in words, after clipping at max_words"
    )
    max_words: int = Field(ge=1, le=1000, description="longest span in words")

    @model_validator(mode="after")
    def _mean_within_maximum(self) -> "SpanMasking":
        if self.mean_words > self.max_words:
            raise ValueError(
                f"mean_words={self.mean_words:g} is above max_words={self.max_words}; "
                "raise max_words or lower mean_words"
            )
        return self


class NoMasking(Section):
    """No masks: for decoders."""

    name: Literal["none"]


Masking = Annotated[
    TokenMasking | WholeWordMasking | SpanMasking | NoMasking, Field(discriminator="name")
]


class DatasetConfig(Section):
    """How documents become examples."""

    sequence_length: int = Field(
        ge=8, le=1_048_576, description="tokens per example, special tokens included"
    )
    packing: Literal["none", "documents", "blocks"] = Field(
        description="documents: fill each example with several documents of one topic; blocks: "
        "documents end to end, an end token after each, cut into examples of full length"
    )
    attend_across: bool = Field(
        description="packed documents attend to those before them in the example (as nanoGPT); "
        "else attention stays inside each"
    )
    train_masks: Literal["dynamic", "static"] = Field(
        description="dynamic: new masks every epoch; static: drawn once and stored"
    )
