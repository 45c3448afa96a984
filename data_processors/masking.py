"""Masking: which tokens a model must predict, and what it sees in their place.

Every draw is a hash of (seed, epoch, example id, stream, position), so that a mask never depends
on the batch, the worker or what was drawn before. A strategy only says how content tokens form
units (tokens, words, spans of words); one rule then selects units.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from ..configs.schema_dataset import Masking, NoMasking, SpanMasking
from ..configs.splitmix import Keys, splitmix64
from .mask_kinds import MaskKind
from .tokenizers import TokenizerFacts

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class Stream(IntEnum):
    """Independent random sequences of one example."""

    ORDER = 0
    TURN = 1
    KIND = 2
    REPLACEMENT = 3
    SPAN = 4


def _unit_interval(bits: Keys) -> NDArray[np.float64]:
    """Maps 64 random bits to [0, 1)."""
    return np.multiply(bits >> np.uint64(11), 2.0**-53, dtype=np.float64)


@dataclass(frozen=True)
class Content:
    """The maskable tokens of B examples laid end to end (N tokens; special tokens are left out).

    Attributes:
        keys: (B,) state of each example's generator.
        rows: (N,) example of each token, ascending.
        positions: (N,) position of each token in its example.
        word_starts: (N,) the token begins a word.
        block_starts: (N,) the token before it is a special one, or of another example.
    """

    keys: Keys
    rows: Ints
    positions: Ints
    word_starts: Bools
    block_starts: Bools

    def uniform(self, stream: Stream, at: NDArray[np.integer]) -> NDArray[np.float64]:
        """Draws from [0, 1) for the tokens numbered `at`, by their place in the example."""
        keys = splitmix64(self.keys, stream)[self.rows[at]]
        return _unit_interval(splitmix64(keys, self.positions[at]))


Strategy = Callable[[Content, Masking], Bools]


def token_units(content: Content, masking: Masking) -> Bools:
    """Every token is a unit."""
    return np.ones(len(content.rows), bool)


def word_units(content: Content, masking: Masking) -> Bools:
    """Every word is a unit."""
    return content.word_starts


def span_units(content: Content, masking: Masking) -> Bools:
    """Cuts each example into runs of whole words; a run is a unit.

    Run lengths are geometric, clipped at `max_words` (SpanBERT, arXiv 1907.10529), with mean
    `mean_words`; shorter where a segment ends inside a run, and where `max_words` is more than the
    share of the example's words that is to be selected, which then is the longest run.
    A geometric run ends after each word with one fixed probability, so the cuts are independent.
    """
    assert isinstance(masking, SpanMasking)
    words = np.flatnonzero(content.word_starts)
    cuts = content.uniform(Stream.SPAN, words) < cut_probability(masking)
    cuts |= content.block_starts[words]
    numbers, rows = np.arange(len(words)), content.rows[words]
    run_starts = np.maximum.accumulate(np.where(cuts, numbers, 0))
    budget = (masking.probability * np.bincount(rows)).astype(np.int64)
    longest = np.clip(budget, 1, masking.max_words)[rows]
    cuts |= (numbers - run_starts) % longest == 0
    starts = np.zeros(len(content.rows), bool)
    starts[words[cuts]] = True
    return starts


def cut_probability(masking: SpanMasking) -> float:
    """Solves (1 - (1 - q)^m) / q = mean_words for q, the chance that a run ends after a word.

    The left side is the mean length of a geometric run that is clipped at m = `max_words`.
    """
    longest, mean = masking.max_words, masking.mean_words

    def too_long(q: float) -> float:
        return (1 - (1 - q) ** longest) / q - mean

    smallest = 1e-9  # below it rounding drowns the left side
    if mean >= longest or too_long(smallest) <= 0:
        return 0.0
    return 1.0 if mean == 1 else float(brentq(too_long, smallest, 1.0))


STRATEGIES: dict[str, Strategy] = {
    "token": token_units,
    "whole_word": word_units,
    "span": span_units,
}


@dataclass(frozen=True)
class Batch:
    """B examples laid end to end (N tokens, special ones included, no padding).

    Attributes:
        input_ids: (N,) true tokens.
        word_ids: (N,) word number inside the example; -1 for special tokens.
        lengths: (B,) tokens of each example.
        example_ids: (B,) unique in the split.
        epochs: (B,) epoch in which each example is seen.
    """

    input_ids: NDArray[np.integer]
    word_ids: NDArray[np.integer]
    lengths: NDArray[np.integer]
    example_ids: NDArray[np.integer]
    epochs: NDArray[np.integer]

    def content(self, seed: int) -> tuple[Content, Ints]:
        """Leaves out special tokens; also returns the (n,) place of each remaining token."""
        rows = np.repeat(np.arange(len(self.lengths)), self.lengths)
        offsets = np.cumsum(self.lengths, dtype=np.int64) - self.lengths
        places = np.flatnonzero(self.word_ids >= 0)
        rows, words = rows[places], self.word_ids[places]
        first = np.ones(len(places), bool)
        blocks, starts = first.copy(), first.copy()
        blocks[1:] = (np.diff(places) != 1) | (np.diff(rows) != 0)
        starts[1:] = blocks[1:] | (np.diff(words) != 0)
        keys = splitmix64(np.zeros(1, np.uint64), seed)
        keys = splitmix64(splitmix64(keys, self.epochs), self.example_ids)
        return Content(keys, rows, places - offsets[rows], starts, blocks), places


def select_units(content: Content, starts: Bools, probability: float) -> tuple[Bools, Ints]:
    """Selects units so that each has the same probability and the token count hardly varies.

    The units of an example lie in random order on a circle as long as its n tokens; those whose
    middle falls on an arc of length probability x n, laid at random, are selected. An arc that
    meets no middle selects one unit, so that every example with content has a label: where units
    are longer than the arc, the realised share is above `probability`.

    Returns:
        (U,) selected; (N,) unit of each token.
    """
    firsts = np.flatnonzero(starts)
    unit_of_token = np.cumsum(starts) - 1
    rows = content.rows[firsts]
    sizes = np.bincount(unit_of_token, minlength=len(firsts))
    draws = (content.uniform(Stream.ORDER, firsts) * 2.0**40).astype(np.int64)
    order = np.argsort((rows << 40) | draws, kind="stable")  # rows stay together

    row, size = rows[order], sizes[order]
    row_starts = np.flatnonzero(np.diff(row, prepend=-1))
    before = np.cumsum(size) - size
    before -= np.repeat(before[row_starts], np.diff(row_starts, append=len(row)))
    total = np.bincount(row, weights=size, minlength=len(content.keys))
    turn = _unit_interval(splitmix64(splitmix64(content.keys, Stream.TURN), 0)) * total
    middles = before + size / 2
    chosen = (middles - turn[row]) % total[row] < probability * total[row]

    labelled = np.bincount(row, weights=chosen, minlength=len(content.keys)) > 0
    chosen[row_starts[~labelled[row[row_starts]]]] = True
    selected = np.empty(len(firsts), bool)
    selected[order] = chosen
    return selected, unit_of_token


def mask_batch(
    batch: Batch, masking: Masking, facts: TokenizerFacts, seed: int
) -> tuple[NDArray[np.int32], NDArray[np.int8]]:
    """Corrupts a batch.

    What happens to a selected token is drawn per token, for spans per span (as in SpanBERT).
    Replacements are uniform over the vocabulary without special tokens.

    Returns:
        (N,) corrupted tokens; (N,) `MaskKind`.
    """
    corrupted = batch.input_ids.astype(np.int32)
    kinds = np.full(len(corrupted), MaskKind.SPECIAL, np.int8)
    content, places = batch.content(seed)
    kinds[places] = MaskKind.UNTOUCHED
    if not len(places) or isinstance(masking, NoMasking):
        return corrupted, kinds
    starts = STRATEGIES[masking.name](content, masking)
    selected, unit_of_token = select_units(content, starts, masking.probability)
    chosen = np.flatnonzero(selected[unit_of_token])
    drawn_at = chosen
    if masking.name == "span":
        drawn_at = np.flatnonzero(starts)[unit_of_token[chosen]]
    draw = content.uniform(Stream.KIND, drawn_at)

    chosen_kinds = np.full(len(chosen), MaskKind.KEPT, np.int8)
    chosen_kinds[draw < masking.mask_share + masking.random_share] = MaskKind.REPLACED
    chosen_kinds[draw < masking.mask_share] = MaskKind.MASKED
    kinds[places[chosen]] = chosen_kinds
    corrupted[places[chosen[chosen_kinds == MaskKind.MASKED]]] = facts.mask_token_id
    replaced = chosen[chosen_kinds == MaskKind.REPLACED]
    draw = content.uniform(Stream.REPLACEMENT, replaced)
    choices = facts.replacement_ids
    corrupted[places[replaced]] = choices[(draw * len(choices)).astype(np.int64)]
    return corrupted, kinds
