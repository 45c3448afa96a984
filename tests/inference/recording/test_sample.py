"""Which documents the store keeps token by token, and in which order."""

import numpy as np

from moescope.inference.recording.sample import TokenSample, choose_documents, topic_ranks

IDS = [f"document {i}" for i in range(60)]
TOPICS = np.repeat([0, 1, 2], [30, 20, 10])


def test_ranks_number_each_topic_and_do_not_depend_on_the_order() -> None:
    ranks = topic_ranks(IDS, TOPICS, seed=3)
    for topic, size in enumerate((30, 20, 10)):
        assert sorted(ranks[topic == TOPICS]) == list(range(size))
    shuffled = np.random.default_rng(0).permutation(60)
    again = topic_ranks([IDS[i] for i in shuffled], TOPICS[shuffled], seed=3)
    assert np.array_equal(again, ranks[shuffled])
    assert not np.array_equal(topic_ranks(IDS, TOPICS, seed=4), ranks)


def test_topics_fill_up_evenly_until_the_tokens_are_spent() -> None:
    ranks = topic_ranks(IDS, TOPICS, seed=0)
    lengths = np.random.default_rng(0).integers(5, 15, 60)
    for max_tokens in (0, 100, 250, 10_000):
        chosen = choose_documents(ranks, lengths, per_topic=15, max_tokens=max_tokens)
        assert lengths[chosen].sum() <= max_tokens
        counts = np.bincount(TOPICS[chosen], minlength=3)
        if max_tokens == 10_000:
            assert counts.tolist() == [15, 15, 10]
        else:
            assert counts.max() - counts.min() <= 1
            assert max_tokens - lengths[chosen].sum() < 15
        for topic in range(3):
            kept = ranks[chosen & (topic == TOPICS)]
            assert sorted(kept) == list(range(len(kept)))


def test_sample_is_sorted_and_numbered_by_document() -> None:
    sample = TokenSample()
    for document, order in (([4, 4, 2], [9, 8, 5]), ([2, 4], [3, 1])):
        size = len(order)
        names = ("token_id", "input_id", "mask_kind", "loss", "predicted_id")
        sample.add(
            document=np.array(document),
            order=np.array(order),
            experts=np.array(order).reshape(size, 1, 1),
            weights=np.ones((size, 1, 1)),
            **{name: np.array(order) for name in names},
        )
    columns, experts, _ = sample.columns(1, 1)
    assert columns["document"].tolist() == [2, 2, 4, 4, 4]
    assert columns["position"].tolist() == [0, 1, 0, 1, 2]
    assert columns["token_id"].tolist() == experts.ravel().tolist() == [3, 5, 1, 8, 9]
