"""Words, shingles, near-duplicates and text cleaning against slow and obvious twins."""

import re
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moescope.configs.compose import compose_config
from moescope.data_processors.audit import count_letters
from moescope.data_processors.cleaning import Cleaner, cut_at_space
from moescope.data_processors.documents import Document, valid_text
from moescope.data_processors.near_duplicates import NearDuplicateIndex, rows_per_band
from moescope.data_processors.topics import TopicRules
from moescope.data_processors.words import SHINGLE_WORDS, hash_shingles, hash_words

ASCII_TEXT = st.text(st.characters(codec="ascii", exclude_characters="\0"), max_size=80)


def words_of(text: str) -> list[str]:
    return re.findall(r"[a-z0-9_]+", text.lower())


@given(st.lists(ASCII_TEXT, min_size=1, max_size=6))
@settings(max_examples=100, deadline=None)
def test_words_equal_a_regular_expression(texts: list[str]) -> None:
    hashes, offsets = hash_words(texts)
    expected = [words_of(text) for text in texts]
    assert np.diff(offsets).tolist() == [len(words) for words in expected]
    flat = [word for words in expected for word in words]
    codes: dict[str, int] = {}
    for word, code in zip(flat, hashes.tolist(), strict=True):
        assert codes.setdefault(word, code) == code
    assert len(set(codes.values())) == len(codes)


@given(st.lists(ASCII_TEXT, min_size=1, max_size=6))
@settings(max_examples=100, deadline=None)
def test_shingles_equal_word_runs_inside_each_text(texts: list[str]) -> None:
    shingles, offsets = hash_shingles(*hash_words(texts))
    codes: dict[tuple[str, ...], int] = {}
    for number, text in enumerate(texts):
        words = words_of(text)
        count = max(len(words) - SHINGLE_WORDS + 1, min(1, len(words)))
        runs = [tuple(words[i : i + SHINGLE_WORDS]) for i in range(count)]
        found = shingles[offsets[number] : offsets[number + 1]].tolist()
        assert len(found) == len(runs)
        for run, code in zip(runs, found, strict=True):
            assert codes.setdefault(run, code) == code
    assert len(set(codes.values())) == len(codes)


def test_a_text_hashes_alike_in_any_company() -> None:
    alone, _ = hash_words(["Große Wörter 漢字 x_1"])
    _, offsets = hash_words(["before", "", "GROSSE"])
    among, spans = hash_words(["something else", "große wörter 漢字 X_1", ""])
    assert offsets.tolist() == [0, 1, 1, 2]
    assert among[spans[1] : spans[2]].tolist() == alone.tolist()
    assert len(alone) == 5  # 漢 and 字 are words of their own


def jaccard(first: str, second: str) -> float:
    def runs(text: str) -> set[tuple[str, ...]]:
        words = words_of(text)
        return {tuple(words[i : i + SHINGLE_WORDS]) for i in range(len(words) - SHINGLE_WORDS + 1)}

    return len(runs(first) & runs(second)) / len(runs(first) | runs(second))


def test_near_duplicates_are_those_of_exact_jaccard() -> None:
    rng = np.random.default_rng(0)
    index = NearDuplicateIndex(0.8, rng)
    originals, copies = [], []
    for _ in range(200):
        words = [f"w{n}" for n in rng.integers(5000, size=120)]
        originals.append(" ".join(words))
        for place in rng.choice(120, size=rng.integers(0, 12), replace=False):
            words[place] = "changed"
        copies.append(" ".join(words))
    for number, signature in enumerate(index.sign(*hash_words(originals))):
        assert signature is not None
        assert index.find(signature) is None
        index.add(signature, 1000 + number)
    signatures = index.sign(*hash_words(copies))
    similarities = [jaccard(a, b) for a, b in zip(originals, copies, strict=True)]
    assert min(similarities) < 0.6
    assert max(similarities) > 0.95
    for number, similarity in enumerate(similarities):
        signature = signatures[number]
        assert signature is not None
        found = index.find(signature)
        if abs(similarity - 0.8) > 0.15:  # four standard errors of the estimate
            assert found == (1000 + number if similarity > 0.8 else None)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8, 0.95, 1.0])
def test_pairs_at_the_threshold_meet_in_a_bucket(threshold: float) -> None:
    rows = rows_per_band(threshold)
    assert 1 - (1 - threshold**rows) ** (128 // rows) >= 0.99


@given(st.text(st.characters(codec=None), max_size=60))  # lone surrogates included
@settings(max_examples=200, deadline=None)
def test_cleaned_text_is_valid_and_otherwise_the_same(text: str) -> None:
    cleaned = valid_text(text)
    cleaned.encode()
    assert "\0" not in cleaned
    if not any(unicodedata.category(c) == "Cs" for c in text):
        assert cleaned == text.replace("\0", "").strip()


def test_surrogates_and_hostile_characters() -> None:
    assert valid_text("a\ud83d\ude00b\ud800c\0d") == "a😀b\ufffdcd"
    hostile = "</script>\x07\u202eשלום\u202c " + "x" * 3000
    assert valid_text(hostile) == hostile


def test_cutting_keeps_whole_words_where_it_can() -> None:
    assert cut_at_space("one two three", 9) == "one two"
    assert cut_at_space("one two", 7) == "one two"
    assert cut_at_space("x" * 50, 10) == "x" * 10


def test_a_text_without_words_is_no_near_duplicate() -> None:
    index = NearDuplicateIndex(0.8, np.random.default_rng(0))
    signed = index.sign(*hash_words(["!!! ???", "one", "...", ""]))
    assert [signature is None for signature in signed] == [True, False, True, True]
    assert index.sign(*hash_words([])) == []


def test_letters_by_script() -> None:
    assert count_letters("abc é 12 !?") == (4, 0)
    assert count_letters("ab שלום 漢字") == (2, 6)


def clean(documents: list[Document], *overrides: str) -> tuple[list[Document], Cleaner]:
    config = compose_config(["name=t", "corpus.clean.min_chars=10", *overrides]).corpus
    cleaner = Cleaner(config.clean, TopicRules(config.topics), np.random.default_rng(0))
    return list(cleaner.clean(documents)), cleaner


def document(number: int, text: str, topic: str | None = "a") -> Document:
    return Document(str(number), text, topic, None, "s", str(number))


LONG = " ".join(f"word{n}" for n in range(60))
REPEATS = [
    document(0, LONG),
    document(1, LONG, "b"),
    document(2, LONG + " more"),
    document(3, "Another text of sufficient length."),
    document(4, LONG + " more", "b"),
    document(5, "tiny"),
    document(6, "The label of this one is missing.", None),
]


def test_of_repeats_the_first_stays_across_topics() -> None:
    kept, cleaner = clean(REPEATS)
    assert [d.id for d in kept] == ["0", "3"]
    assert cleaner.tally.removed == {
        "exact_duplicate": 1,
        "near_duplicate": 2,
        "too_short": 1,
        "no_topic": 1,
    }
    assert [repeat.topic for repeat in cleaner.tally.near] == ["a", "b"]
    assert {repeat.original for repeat in cleaner.tally.near + cleaner.tally.exact} == {0}


def test_exact_repeats_that_may_stay_are_still_counted() -> None:
    kept, cleaner = clean(
        REPEATS, "corpus.clean.exact_duplicates=false", "corpus.clean.near_duplicates=false"
    )
    assert [d.id for d in kept] == ["0", "1", "2", "3", "4"]
    assert len(cleaner.tally.exact) == 2
    assert cleaner.tally.near == []
    assert not any(cleaner.tally.removed[f"{kind}_duplicate"] for kind in ("exact", "near"))


def test_a_cap_counts_kept_documents_and_takes_the_first() -> None:
    texts = [document(n, f"Text number {n} is of a topic.", "ab"[n % 2]) for n in range(10)]
    kept, cleaner = clean([*REPEATS[:2], *texts], "corpus.topics.max_documents=2")
    assert [d.id for d in kept] == ["0", "0", "1", "3"]
    assert cleaner.tally.removed["over_topic_cap"] == 7
