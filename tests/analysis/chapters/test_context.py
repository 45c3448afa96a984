"""The share of topic information that words reproduce: its intervals and its sentence."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from benchmarks.calibration_coverage import WORDS, bracket_intervals
from benchmarks.calibration_tests import sample_of
from benchmarks.null_tokens import TokenPlan, draw_tokens
from moescope.analysis.chapters.context.bracket import group_blocks, without, word_bracket
from moescope.analysis.chapters.context.verdict import _reproduced
from moescope.analysis.statistics.units import group_units


def test_intervals_of_what_words_reproduce_hold_the_truth() -> None:
    held = bracket_intervals(WORDS)
    found = [list(held(np.random.default_rng([5, seed])).values()) for seed in range(24)]
    assert np.mean(found, axis=0).min() > 0.7  # a true 95%: once in 10,000


def test_blocks_keep_groups_whole_and_topics_even() -> None:
    corpus = draw_tokens(TokenPlan(groups=23, documents=3, tokens=5), np.random.default_rng(0))
    units = group_units(corpus.groups, corpus.topic_ids, 4)
    blocks = group_blocks(units, np.random.default_rng(1))
    table = pd.crosstab(corpus.topic_ids, blocks)
    assert table.shape == (4, 20)
    assert set(table.to_numpy().ravel()) <= {3, 6}  # one group or two of each topic
    assert (pd.Series(blocks).groupby(corpus.groups).nunique() == 1).all()


def test_a_sample_without_some_documents_is_one_that_never_had_them() -> None:
    corpus = draw_tokens(TokenPlan(groups=5, tokens=8), np.random.default_rng(0))
    sample, names = sample_of(corpus), list(map(str, corpus.groups))
    rest, left = without(sample, names, corpus.groups % 2 == 0)
    assert left == [name for name in names if int(name) % 2]
    own = np.isin(sample.documents, np.flatnonzero(corpus.groups % 2))
    np.testing.assert_array_equal(rest.rows[rest.documents], sample.documents[own])
    np.testing.assert_array_equal(rest.token_ids[rest.types], sample.token_ids[sample.types[own]])
    np.testing.assert_array_equal(rest.experts, sample.experts[own])


@pytest.mark.parametrize(("groups", "bits", "ends"), [(1, False, False), (4, True, False)])
def test_few_groups_have_no_interval(groups: int, bits: bool, ends: bool) -> None:
    plan = TokenPlan(groups=groups, vocabulary=1.0, context=1.0, tokens=200)
    corpus = draw_tokens(plan, np.random.default_rng(0))
    found = word_bracket(sample_of(corpus), list(corpus.groups), np.random.default_rng(0))
    assert np.isfinite(found["lower_bits"][0]) == bits
    assert np.isfinite(found["lower_share_low"][0]) == ends


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        (
            (0.2, 0.6),
            "alone reproduce 25% to 49% of the topic information of layer 3 (95% intervals",
        ),
        (
            (-0.2, 1.6),
            "how much of the topic information of layer 3 the words alone reproduce cannot",
        ),
        ((np.nan, np.nan), "alone reproduce about 25% to 49% of"),
    ],
)
def test_the_sentence_says_no_more_than_the_interval(ends: tuple[float, float], said: str) -> None:
    sides = {
        f"{side}_share_{end}": x
        for side in ("lower", "upper")
        for end, x in zip(("low", "high"), ends, strict=True)
    }
    frame = pd.DataFrame(
        [{"layer": 3, "bits": 0.1, "lower_share": 0.25, "upper_share": 0.49, **sides}]
    )
    assert said in _reproduced(frame, SimpleNamespace(layer=pd.Series([3])))  # type: ignore[arg-type]
