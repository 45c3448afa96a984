"""The tokenizer that is published with a decoder: it opens a prompt and does not end it."""

from copy import deepcopy
from pathlib import Path

from tokenizers import processors
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from .tokenizers import tokenizer_facts, tokenizer_hash


def prompt_tokenizer(
    tokenizer: PreTrainedTokenizerBase, begin_id: int | None
) -> PreTrainedTokenizerBase:
    """Returns a tokenizer that puts a text's first token before it and no end token after it.

    After an end token `generate` would go on with another text. A tokenizer that adds no end
    token is returned as it is.

    Args:
        tokenizer: a fast tokenizer; stays as it is.
        begin_id: what the decoder's texts begin with, its `bos_token_id`; None = nothing.
    """
    _, end = tokenizer_facts(tokenizer).cls_sep
    if tokenizer("a").input_ids[-1] != end:
        return tokenizer
    begin = [] if begin_id is None else [str(tokenizer.convert_ids_to_tokens(begin_id))]
    opened = deepcopy(tokenizer)
    opened.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=[*begin, "$A"],
        pair=[*begin, "$A", "$B:1"],
        special_tokens=[(token, begin_id) for token in begin],
    )
    return opened


def same_tokenizer(own: PreTrainedTokenizerBase, dataset: Path, dataset_hash: str) -> bool:
    """Whether a checkpoint's tokenizer is a dataset's, or the one that a decoder of it has.

    Args:
        own: the checkpoint's.
        dataset: the dataset's folder.
        dataset_hash: what `tokenizer_hash` gave for its tokenizer.
    """
    found = tokenizer_hash(own)
    if found == dataset_hash:
        return True
    theirs = AutoTokenizer.from_pretrained(dataset / "tokenizer", trust_remote_code=False)
    openings = (*tokenizer_facts(theirs).cls_sep, None)
    return found in [tokenizer_hash(prompt_tokenizer(theirs, begin)) for begin in openings]
