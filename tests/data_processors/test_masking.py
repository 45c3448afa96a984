"""Masks: right shares, nothing special touched, and a function of (seed, epoch, example) alone."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from moescope.configs.schema_dataset import Masking, SpanMasking, TokenMasking, WholeWordMasking
from moescope.configs.splitmix import splitmix64
from moescope.data_processors.masking import (
    Batch,
    Content,
    MaskKind,
    Stream,
    cut_probability,
    mask_batch,
    select_units,
    span_units,
)
from moescope.data_processors.tokenizers import TokenizerFacts

FACTS = TokenizerFacts(
    mask_token_id=4,
    pad_token_id=0,
    cls_sep=(2, 3),
    replacement_ids=np.arange(5, 1000, dtype=np.int32),
)
SHARES = {"mask_share": 0.8, "random_share": 0.1}


def make_masking(name: str, probability: float = 0.15) -> Masking:
    if name == "span":
        return SpanMasking(
            name="span", probability=probability, mean_words=3, max_words=10, **SHARES
        )
    if name == "token":
        return TokenMasking(name="token", probability=probability, **SHARES)
    return WholeWordMasking(name="whole_word", probability=probability, **SHARES)


def make_batch(num_examples: int, seed: int, epoch: int = 0, longest: int = 120) -> Batch:
    """[CLS] words [SEP] per example; words of 1 to 4 tokens; ids from a small range."""
    generator = np.random.default_rng(seed)
    word_ids: list[NDArray[np.int64]] = []
    lengths: list[int] = []
    for _ in range(num_examples):
        sizes = generator.integers(1, 5, generator.integers(1, longest // 3))
        word_ids.append(np.array([-1, *np.repeat(np.arange(len(sizes)), sizes), -1]))
        lengths.append(len(word_ids[-1]))
    words = np.concatenate(word_ids)
    ids = np.where(words < 0, 2, generator.integers(5, 50, len(words)))
    return Batch(
        ids, words, np.array(lengths), np.arange(num_examples), np.full(num_examples, epoch)
    )


def take(batch: Batch, examples: list[int]) -> Batch:
    ends = np.cumsum(batch.lengths)
    slices = [slice(ends[i] - batch.lengths[i], ends[i]) for i in examples]
    return Batch(
        np.concatenate([batch.input_ids[s] for s in slices]),
        np.concatenate([batch.word_ids[s] for s in slices]),
        batch.lengths[examples],
        batch.example_ids[examples],
        batch.epochs[examples],
    )


def is_selected(kinds: NDArray[np.int8]) -> NDArray[np.bool_]:
    return (kinds > MaskKind.UNTOUCHED) & (kinds < MaskKind.SPECIAL)


def test_generator_is_splitmix64() -> None:
    state = np.zeros(1, np.uint64)
    published = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert [int(splitmix64(state, n)[0]) for n in range(3)] == published


@pytest.mark.parametrize("probability", [0.05, 0.15, 0.4])
@pytest.mark.parametrize("name", ["token", "whole_word", "span"])
def test_shares_hold_over_100k_tokens(name: str, probability: float) -> None:
    batch = make_batch(3000, seed=1, longest=240)
    corrupted, kinds = mask_batch(batch, make_masking(name, probability), FACTS, seed=7)
    content = batch.word_ids >= 0
    assert content.sum() > 100_000
    chosen = is_selected(kinds)
    assert chosen[content].mean() == pytest.approx(probability, abs=0.005)
    shares = [(kinds[chosen] == kind).mean() for kind in (1, 2, 3)]
    drawn_together = 4 if name == "span" else 1  # tokens; fewer independent draws
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.015 * drawn_together**0.5)
    assert (kinds[~content] == MaskKind.SPECIAL).all()
    assert (kinds[content] != MaskKind.SPECIAL).all()
    untouched = (kinds != MaskKind.MASKED) & (kinds != MaskKind.REPLACED)
    assert (corrupted[untouched] == batch.input_ids[untouched]).all()
    assert (corrupted[kinds == MaskKind.MASKED] == FACTS.mask_token_id).all()


def test_replacements_are_uniform_over_the_ordinary_vocabulary() -> None:
    masking = TokenMasking(name="token", probability=0.9, mask_share=0, random_share=1)
    batch = make_batch(3000, seed=2)  # its own ids are below 50
    corrupted, kinds = mask_batch(batch, masking, FACTS, seed=0)
    counts = np.bincount(corrupted[kinds == MaskKind.REPLACED], minlength=1000)
    assert counts[:5].sum() == 0
    expected = counts.sum() / 995
    chi_square = ((counts[5:] - expected) ** 2 / expected).sum()
    assert abs(chi_square - 994) < 5 * np.sqrt(2 * 994)


@pytest.mark.parametrize("name", ["token", "whole_word", "span"])
def test_mask_depends_on_seed_epoch_and_example_alone(name: str) -> None:
    masking, batch = make_masking(name), make_batch(400, seed=3, epoch=5)
    whole = mask_batch(batch, masking, FACTS, seed=9)
    order = [31, 4, 4, 17]
    part = mask_batch(take(batch, order), masking, FACTS, seed=9)
    ends = np.cumsum(batch.lengths)
    for result in (0, 1):
        pieces = [whole[result][ends[i] - batch.lengths[i] : ends[i]] for i in order]
        np.testing.assert_array_equal(part[result], np.concatenate(pieces))
    for changed in (
        mask_batch(batch, masking, FACTS, seed=10),
        mask_batch(make_batch(400, seed=3, epoch=6), masking, FACTS, seed=9),
    ):
        both = is_selected(changed[1]) & is_selected(whole[1])
        overlap = both.sum() / is_selected(whole[1]).sum()
        assert overlap == pytest.approx(0.15, abs=0.04)  # as two independent masks


def test_every_place_is_selected_equally_often() -> None:
    """Over 4,000 epochs of one example, neither place nor word length matters."""
    sizes = [1, 4, 1, 2, 8, 1, 1, 3, 2, 1, 5, 1]
    words = np.repeat(np.arange(len(sizes)), sizes)
    epochs = 4000
    batch = Batch(
        np.full(len(words) * epochs, 9),
        np.tile(words, epochs),
        np.full(epochs, len(words)),
        np.zeros(epochs, np.int64),
        np.arange(epochs),
    )
    for name in ("token", "whole_word"):
        _, kinds = mask_batch(batch, make_masking(name, 0.3), FACTS, seed=0)
        shares = is_selected(kinds).reshape(epochs, -1).mean(0)
        assert np.abs(shares - 0.3).max() < 5 * np.sqrt(0.3 * 0.7 / epochs)


@pytest.mark.parametrize("name", ["token", "whole_word", "span"])
def test_every_example_has_a_label(name: str) -> None:
    batch = make_batch(500, seed=4, longest=9)
    _, kinds = mask_batch(batch, make_masking(name, 0.01), FACTS, seed=0)
    rows = np.repeat(np.arange(500), batch.lengths)
    assert np.bincount(rows, is_selected(kinds)).min() >= 1


def test_token_counts_hardly_vary() -> None:
    batch = make_batch(500, seed=5, longest=240)
    _, kinds = mask_batch(batch, make_masking("token"), FACTS, seed=0)
    counts = np.add.reduceat(is_selected(kinds), np.cumsum(batch.lengths) - batch.lengths)
    assert np.abs(counts - np.maximum(0.15 * (batch.lengths - 2), 1)).max() <= 1


def test_example_without_content_is_left_alone() -> None:
    batch = Batch(np.array([2, 1, 3]), np.full(3, -1), np.array([3]), np.array([0]), np.array([0]))
    corrupted, kinds = mask_batch(batch, make_masking("token"), FACTS, seed=0)
    assert corrupted.tolist() == [2, 1, 3]
    assert kinds.tolist() == [MaskKind.SPECIAL] * 3


@pytest.mark.parametrize("name", ["whole_word", "span"])
def test_words_are_selected_whole(name: str) -> None:
    batch = make_batch(300, seed=6)
    _, kinds = mask_batch(batch, make_masking(name, 0.3), FACTS, seed=0)
    rows = np.repeat(np.arange(300), batch.lengths)
    content = batch.word_ids >= 0
    words = rows[content] * 1000 + batch.word_ids[content]
    _, number = np.unique(words, return_inverse=True)
    shares = np.bincount(number, is_selected(kinds)[content]) / np.bincount(number)
    assert set(shares.tolist()) == {0.0, 1.0}


def test_spans_have_the_stated_length_and_one_fate() -> None:
    """Words of one token, and few spans per example, so that the ends weigh little."""
    num, length = 1000, 202
    words = np.tile([-1, *range(length - 2), -1], num)
    batch = Batch(
        np.full(len(words), 9), words, np.full(num, length), np.arange(num), np.arange(num)
    )
    masking = make_masking("span", 0.1)
    _, kinds = mask_batch(batch, masking, FACTS, seed=0)
    content, places = batch.content(seed=0)
    starts = span_units(content, masking)
    sizes = np.diff(np.flatnonzero(starts), append=len(starts))
    assert sizes.max() == 10
    assert sizes.mean() == pytest.approx(3.0, abs=0.05)
    number = np.cumsum(starts) - 1
    for kind in MaskKind:
        shares = np.bincount(number, kinds[places] == kind) / sizes
        assert set(shares.tolist()) <= {0.0, 1.0}


def test_spans_are_no_longer_than_the_budget() -> None:
    words = np.arange(40)
    batch = Batch(words + 5, words, np.array([40]), np.array([0]), np.array([0]))
    content, _ = batch.content(seed=0)
    starts = span_units(content, make_masking("span", 0.06))
    assert np.diff(np.flatnonzero(starts), append=40).max() == 2


@example(mean=7.999999999999999, longest=8)
@given(mean=st.floats(1, 8), longest=st.integers(8, 30))
def test_cut_probability_gives_the_clipped_mean(mean: float, longest: int) -> None:
    masking = SpanMasking(
        name="span", probability=0.1, mean_words=mean, max_words=longest, **SHARES
    )
    q = cut_probability(masking)
    lengths = np.arange(1, longest + 1)
    weights = q * (1 - q) ** (lengths - 1)
    weights[-1] = (1 - q) ** (longest - 1)
    assert (weights * lengths).sum() == pytest.approx(mean, rel=1e-6)


def slow_select(content: Content, starts: NDArray[np.bool_], probability: float) -> list[bool]:
    """One example and one unit at a time, as the docstring of `select_units` says."""
    selected: list[bool] = []
    firsts = np.flatnonzero(starts)
    order_draw = content.uniform(Stream.ORDER, firsts)
    for row in np.unique(content.rows):
        units = [u for u, first in enumerate(firsts) if content.rows[first] == row]
        ends = [*firsts[1:], len(starts)]
        n = int((content.rows == row).sum())
        turn = float(
            splitmix64(splitmix64(content.keys[[row]], Stream.TURN), 0)[0] >> np.uint64(11)
        )
        turn *= 2.0**-53 * n
        fate, place = {}, 0
        shuffled = sorted(units, key=lambda u: order_draw[u])
        for u in shuffled:
            size = ends[u] - firsts[u]
            fate[u] = (place + size / 2 - turn) % n < probability * n
            place += size
        if not any(fate.values()):
            fate[shuffled[0]] = True
        selected += [bool(fate[u]) for u in units]
    return selected


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), probability=st.floats(0.01, 0.99))
def test_selection_equals_its_slow_twin(seed: int, probability: float) -> None:
    content, _ = make_batch(4, seed=seed, longest=40).content(seed)
    selected, unit_of_token = select_units(content, content.word_starts, probability)
    assert selected.tolist() == slow_select(content, content.word_starts, probability)
    assert (np.diff(unit_of_token, prepend=-1) == content.word_starts).all()
