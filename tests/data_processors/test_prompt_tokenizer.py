"""A decoder's own tokenizer opens a prompt and does not end it; it is still the dataset's."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from moescope.data_processors.prompt_tokenizer import prompt_tokenizer, same_tokenizer
from moescope.data_processors.tokenizers import TextEncoder, tokenizer_hash

from .test_tokenizers import KINDS, TEXTS, trained


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("begin", [2, 3, None])  # [CLS]; [SEP], which opens blocks; nothing
def test_a_prompt_begins_as_texts_do_and_stays_open(
    kind: str, begin: int | None, tmp_path: Path
) -> None:
    framed = trained(kind)
    prompt_tokenizer(framed, begin).save_pretrained(tmp_path)
    opened = AutoTokenizer.from_pretrained(tmp_path)
    first = [] if begin is None else [begin]
    for text in (TEXTS[0], ""):
        inner = TextEncoder(framed)([text]).input_ids.tolist() if text else []
        assert opened(text).input_ids == first + inner
        assert framed(text).input_ids == [2, *inner, 3]
    assert opened("a", "a").input_ids == opened("a").input_ids + framed("a").input_ids[1:-1]
    assert tokenizer_hash(prompt_tokenizer(opened, begin)) == tokenizer_hash(opened)


def test_a_tokenizer_that_ends_no_text_stays_as_it_is() -> None:
    framed = trained("bpe")
    backend = framed.backend_tokenizer
    backend.post_processor = None
    plain = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="[SEP]")
    assert prompt_tokenizer(plain, 3) is plain


def test_it_counts_as_the_tokenizer_of_its_dataset(tmp_path: Path) -> None:
    framed = trained("bpe")
    framed.save_pretrained(tmp_path / "tokenizer")
    known = tokenizer_hash(framed)
    for own in (framed, prompt_tokenizer(framed, 2), prompt_tokenizer(framed, 3)):
        assert same_tokenizer(own, tmp_path, known)
    assert not same_tokenizer(prompt_tokenizer(trained("char"), 2), tmp_path, known)
