"""Splits: what every assignment must satisfy, whatever the corpus looks like."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moescope.configs.errors import UserError
from moescope.configs.schema_corpus import Splits
from moescope.data_processors.splits import DROPPED, PROBE, TEST, TRAIN, VALIDATION, assign_splits

CONFIG = Splits(validation=0.1, test=0.1, probe_documents=50, probe_share=0.25)


def names(count: int) -> list[str]:
    return [f"topic {index}" for index in range(count)]


def corpus(
    seed: int, num_topics: int, num_groups: int, mixed: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Draws groups of 1 to 9 documents; each of one topic, or of any where `mixed`."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 10, size=num_groups)
    group = np.repeat(rng.integers(2**63, size=num_groups, dtype=np.uint64), sizes)
    topic = np.repeat(rng.integers(num_topics, size=num_groups), sizes)
    if mixed:
        stray = rng.random(len(topic)) < 0.2
        topic[stray] = rng.integers(num_topics, size=stray.sum())
    return topic, group


@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(20, 200), st.booleans())
@settings(max_examples=60, deadline=None)
def test_no_group_straddles_and_the_probe_is_even(
    seed: int, num_topics: int, num_groups: int, mixed: bool
) -> None:
    topic, group = corpus(seed, num_topics, num_groups, mixed)
    try:
        split = assign_splits(topic, group, CONFIG, names(num_topics), seed)
    except UserError:
        assert num_groups < 80 * num_topics  # only small corpora may be refused
        return
    for number in np.unique(group):
        assert len(set(split[group == number].tolist()) - {DROPPED}) <= 1
    probe = np.bincount(topic[split == PROBE], minlength=num_topics)
    assert len(set(probe.tolist())) == 1
    assert 1 <= probe[0] <= 50
    for number in (TRAIN, VALIDATION, TEST):
        assert np.bincount(topic[split == number], minlength=num_topics).min() >= 1


def test_shares_are_kept_within_each_topic() -> None:
    topic, group = corpus(0, 3, 3000, mixed=False)
    split = assign_splits(topic, group, CONFIG, names(3), 0)
    for index in range(3):
        sizes = np.bincount(split[topic == index], minlength=4)
        assert sizes[[VALIDATION, TEST]] == pytest.approx(0.1 * (topic == index).sum(), rel=0.02)
        assert sizes[PROBE] == 50
        assert len(np.unique(group[(topic == index) & (split == PROBE)])) >= 10


def test_splits_depend_on_group_and_seed_alone() -> None:
    topic, group = corpus(1, 2, 500, mixed=True)
    split = assign_splits(topic, group, CONFIG, names(2), 7)
    assert np.array_equal(split, assign_splits(topic, group, CONFIG, names(2), 7))
    assert not np.array_equal(split, assign_splits(topic, group, CONFIG, names(2), 8))
    order = np.random.default_rng(0).permutation(len(topic))
    shuffled = assign_splits(topic[order], group[order], CONFIG, names(2), 7)
    whole = {g: s for g, s in zip(group, split, strict=True) if s != DROPPED}
    assert all(s in (whole[g], DROPPED) for g, s in zip(group[order], shuffled, strict=True))


def test_without_a_test_share_there_is_no_test_split() -> None:
    topic, group = corpus(2, 2, 200, mixed=False)
    config = CONFIG.model_copy(update={"test": 0.0})
    assert not np.any(assign_splits(topic, group, config, names(2), 0) == TEST)


@pytest.mark.parametrize("sizes", [[1, 1, 1], [50]])
def test_a_topic_too_small_for_the_splits_is_named(sizes: list[int]) -> None:
    topic, group = corpus(3, 1, 100, mixed=False)
    small = np.repeat(np.arange(len(sizes), dtype=np.uint64), sizes)
    with pytest.raises(UserError, match=r"'topic 1' has .* at least 4 documents .* 4 groups"):
        assign_splits(
            np.concatenate([topic, np.ones(len(small), dtype=int)]),
            np.concatenate([group, small]),
            CONFIG,
            names(2),
            0,
        )
