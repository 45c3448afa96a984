"""E6: topics that are there are read, groups count once, and sentences claim no more."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from benchmarks.null_tokens import TokenPlan, draw_tokens
from moescope.analysis.chapters.topic_classifier.measures import (
    ClassifierInput,
    TopicClassifierRecord,
    classifier_input,
    expert_shares,
    topic_classifier,
)
from moescope.analysis.chapters.topic_classifier.section import classifier_section
from moescope.analysis.chapters.topic_classifier.verdict import classifier_sentences
from moescope.analysis.data.design import Design
from moescope.analysis.data.sample import TokenSample
from moescope.analysis.html.page import ALL_LAYERS
from moescope.analysis.html.sentence import Sentence

DESIGN = Design(("a", "b", "c", "d"), (0,), 8, 1, 0.05, 39)
NOTHING = TokenPlan()
WORDS = TokenPlan(vocabulary=1.0)
BOTH = TokenPlan(vocabulary=0.3, burstiness=1.0, context=1.0)
CONTEXT = TokenPlan(context=1.5)


def read(plan: TokenPlan, seed: int = 0, with_words: bool = True) -> ClassifierInput:
    generator = np.random.default_rng([1, seed])
    corpus = draw_tokens(plan, generator)
    number = len(corpus.topic_ids)
    sample = TokenSample(
        rows=np.arange(number),
        topic_ids=corpus.topic_ids,
        topics=("a", "b", "c", "d"),
        layers=(0,),
        num_experts=plan.experts,
        documents=corpus.documents,
        positions=corpus.positions,
        types=corpus.types,
        token_ids=np.arange(corpus.types.max() + 1),
        experts=corpus.experts[:, None, None],
    )
    counts = np.zeros((number, 1, plan.experts), np.int64)
    np.add.at(counts, (corpus.documents, 0, corpus.experts), 1)
    groups = [f"group {group}" for group in corpus.groups]
    return classifier_input(
        counts, corpus.topic_ids, groups, sample if with_words else None, generator
    )


def classify(plan: TokenPlan, seed: int = 0, with_words: bool = True) -> pd.DataFrame:
    return topic_classifier(read(plan, seed, with_words), 39, np.random.default_rng(2))


def test_experts_add_to_words_only_where_there_is_context() -> None:
    context = classify(CONTEXT).set_index("reader")
    assert context.accuracy["experts"] > 0.7 > 0.45 > context.accuracy["words"]
    assert context.gain_low["both"] > 0.2
    assert context.p_value["experts"] == context.p_value["both"] == 1 / 40
    words = classify(WORDS).set_index("reader")
    assert words.accuracy["words"] > 0.9
    assert words.gain_low["both"] <= 0 <= words.gain_high["both"]
    assert words.p_value["both"] > 0.05
    nothing = classify(NOTHING).set_index("reader")
    assert nothing.p_value["experts"] > 0.05
    assert (nothing.low < nothing.accuracy).all()
    assert (nothing.accuracy < nothing.high).all()
    assert (nothing.units == 80).all()


def test_documents_of_a_group_are_one_unit() -> None:
    plan = replace(NOTHING, documents=5, group_noise=1.0)
    units = read(plan)
    assert len(units.topic_ids) == 80
    assert units.documents == 400
    assert classify(plan).p_value.iloc[0] > 0.05
    counts = np.array([[[8, 0]], [[0, 2]], [[1, 1]]])
    shares = expert_shares(counts, np.array([0, 0, 1]), 2)
    assert shares.tolist() == [[0.5, 0.5], [0.5, 0.5]], "long documents weigh as short ones do"


def test_nothing_without_topics_or_groups_and_no_p_below_ten() -> None:
    units = read(NOTHING)
    one = replace(units, topic_ids=np.zeros_like(units.topic_ids))
    assert topic_classifier(one, 19, np.random.default_rng(0)).empty
    alone = replace(units, groups=np.zeros_like(units.groups))
    assert topic_classifier(alone, 19, np.random.default_rng(0)).empty
    few = classify(replace(NOTHING, groups=9))
    assert few.p_value.isna().all()
    assert few.fewest_units.iloc[0] == 9
    assert classify(NOTHING, with_words=False).reader.tolist() == ["experts"]


def said(frame: pd.DataFrame) -> Sentence:
    (sentence,) = classifier_sentences(TopicClassifierRecord(frame), DESIGN)
    return sentence


@pytest.mark.parametrize(
    ("plan", "tone", "says"),
    [
        (CONTEXT, "finding", ("can be read off its experts:", "is worth")),
        (BOTH, "finding", ("can be read off its experts:", "is worth")),
        (WORDS, "finding", ("can be read off its experts:", "there is no evidence that the exp")),
        (NOTHING, "none", ("No evidence that the topic", "there is no evidence that the experts")),
        (replace(CONTEXT, groups=9), "warning", ("No test of", "only 9 groups")),
    ],
)
def test_sentences_say_what_was_planted(plan: TokenPlan, tone: str, says: tuple[str, ...]) -> None:
    sentence = said(classify(plan))
    assert sentence.tone == tone
    for part in says:
        assert part in sentence.claim
    assert "knows nothing" not in sentence.claim


def test_a_certain_but_small_addition_claims_no_points() -> None:
    frame = classify(CONTEXT)
    small = frame.assign(gain_low=frame.gain_low - 0.9)
    assert "too little to say" in said(small).claim
    assert said(frame.iloc[:1]).claim.endswith("by chance.")


def test_the_section_shows_every_reader() -> None:
    section = classifier_section(TopicClassifierRecord(classify(CONTEXT)), DESIGN)
    assert section is not None
    (bars,) = section.panels[0].views[ALL_LAYERS].data
    assert list(bars.x) == ["experts", "words", "both"]
    assert classifier_section(TopicClassifierRecord(pd.DataFrame()), DESIGN) is None
