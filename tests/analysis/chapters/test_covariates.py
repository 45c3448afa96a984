"""Covariates that the routing goes by are named, and a topic is told from its texts' length."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moescope.analysis.chapters.covariates.measures import (
    CovariatesRecord,
    WithinStrata,
    covariate_information,
    document_values,
    position_information,
    topic_within_strata,
)
from moescope.analysis.chapters.covariates.section import covariates_section
from moescope.analysis.chapters.covariates.verdict import covariate_sentences
from moescope.analysis.data.covariates import text_covariates
from moescope.analysis.data.design import Design
from moescope.analysis.data.documents import DocumentCounts
from moescope.analysis.data.sample import TokenSample
from moescope.analysis.html.page import ALL_LAYERS
from moescope.analysis.html.sentence import Sentence

EXPERTS, GROUPS, TOPICS = 6, 40, ("a", "b")
DESIGN = Design(TOPICS, (0,), EXPERTS, 1, 0.05, 99)


def corpus(
    generator: np.random.Generator,
    *,
    topic: float = 0.0,
    language: float = 0.0,
    position: float = 0.0,
    longer: float = 1.0,
) -> tuple[DocumentCounts, TokenSample, list[str], pd.DataFrame]:
    """Two documents a group; experts lean by topic, by language and at the first ten tokens.

    Texts of the second topic are `longer` times as long.
    """
    number = 2 * GROUPS
    topic_ids, groups = np.arange(number) // GROUPS, np.arange(number) // 2
    tongue = groups % 2
    lengths = np.rint(generator.uniform(30, 60, number) * np.where(topic_ids, longer, 1)).astype(
        int
    )
    documents = np.repeat(np.arange(number), lengths)
    positions = np.concatenate([np.arange(n) for n in lengths])
    scores = 0.5 * generator.normal(size=(GROUPS, EXPERTS))[groups][documents]
    scores[:, 0] += topic * topic_ids[documents]
    scores[:, 1] += language * tongue[documents]
    scores[:, 2] += position * (positions < 10)
    experts = (scores + generator.gumbel(size=scores.shape)).argmax(axis=1)
    counts = np.zeros((number, 1, EXPERTS), np.int64)
    np.add.at(counts, (documents, 0, experts), 1)
    ids = [f"d{row:03d}" for row in range(number)]
    data = DocumentCounts(
        ids, topic_ids, TOPICS, (0,), 1, counts, lengths, np.zeros_like(counts), 0 * lengths
    )
    types = np.zeros(len(documents), np.int64)
    sample = TokenSample(
        np.arange(number), topic_ids, TOPICS, (0,), EXPERTS, documents, positions, types,
        np.zeros(1), experts[:, None, None],
    )  # fmt: skip
    known = pd.DataFrame({"language": np.where(tongue, "German", "English")}, ids)
    return data, sample, [f"g{group}" for group in groups], known


def explained(**effects: float) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    data, sample, groups, known = corpus(generator, **effects)
    values = document_values(data, known.assign(script="Latin"))
    numbers = np.unique(groups, return_inverse=True)[1]
    parts = [
        covariate_information(data, groups, values, 59, generator),
        position_information(sample, numbers, 59, generator),
    ]
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize("name", ["language", "position"])
def test_a_planted_covariate_is_above_its_null_and_others_are_not(name: str) -> None:
    frame = explained(**{name: 2.0}).set_index("by")
    assert set(frame.index) == {"length", "language", "position"}, "one script explains nothing"
    assert frame.share[name] > 2 * frame.null_high[name]
    others = frame.drop(name)
    assert (others.share < 0.5 * frame.share[name]).all()
    assert frame.documents["language"] == 2 * GROUPS
    assert frame.groups["language"] == GROUPS


def test_rare_and_unknown_values_are_left_out() -> None:
    generator = np.random.default_rng(1)
    data, _, groups, known = corpus(generator, language=2.0)
    known.iloc[:4, 0] = "Dutch"
    known.iloc[10:20, 0] = "unknown"
    values = document_values(data, known)
    frame = covariate_information(data, groups, values, 19, generator).set_index("by")
    assert frame["values"]["language"] == 2
    assert frame.documents["language"] == 2 * GROUPS - 14


@pytest.mark.parametrize(
    ("effects", "told", "found"),
    [
        ({"topic": 1.5}, True, True),
        ({}, True, False),
        ({"position": 2.0, "longer": 1.3}, True, False),  # longer texts have fewer first tokens
        ({"topic": 1.5, "longer": 4.0}, False, False),
    ],
)
def test_the_topic_within_strata(effects: dict[str, float], told: bool, found: bool) -> None:
    generator = np.random.default_rng(2)
    _, sample, groups, _ = corpus(generator, **effects)
    within = topic_within_strata(sample, groups, 99, generator)
    assert within is not None
    assert within.can_be_told == told
    if told:
        assert (within.p_value <= 0.05) == found
    assert within.groups == GROUPS


def said(
    frame: pd.DataFrame, within: WithinStrata | None = None, derived: str | None = None
) -> list[Sentence]:
    return list(covariate_sentences(CovariatesRecord(frame, within, derived), DESIGN))


def with_topic(frame: pd.DataFrame, share: float) -> pd.DataFrame:
    topic = pd.DataFrame({"by": ["topic"], "layer": [0], "share": [share], "values": [2]})
    return pd.concat([topic, frame], ignore_index=True)


def test_sentences_name_what_explains_as_much() -> None:
    frame = explained(language=2.0)
    (above,) = said(with_topic(frame, 0.001))
    assert above.tone == "warning"
    assert above.claim.startswith("The language (")
    assert "explains about as much of the routing as the topic (0.10%)" in above.claim
    (below,) = said(with_topic(frame, 0.9))
    assert below.tone == "fact"
    assert below.claim.startswith("No covariate explains nearly as much")
    assert said(with_topic(explained(), -0.1)) == []
    share = float(frame[frame.by == "language"].share.iloc[0])
    (near,) = said(with_topic(frame, 1.1 * share))  # no two estimates that near are told apart
    assert near.tone == "warning"
    (far,) = said(with_topic(frame, 1.4 * share))
    assert far.tone == "fact"


@pytest.mark.parametrize(
    ("p_value", "movable", "tone", "says"),
    [
        (0.01, 0.9, "finding", "experts still tell the topic"),
        (0.4, 0.9, "none", "No evidence that experts tell the topic"),
        (0.01, 0.3, "warning", "cannot be told apart"),
    ],
)
def test_sentences_on_strata(p_value: float, movable: float, tone: str, says: str) -> None:
    (sentence,) = said(pd.DataFrame({"by": []}), WithinStrata(p_value, movable, 40, 5))
    assert sentence.tone == tone
    assert says in sentence.claim
    assert said(pd.DataFrame({"by": []}), WithinStrata(np.nan, movable, 40, 5)) == []


def test_derived_topics_carry_their_warning_into_verdict_and_page() -> None:
    frame = with_topic(explained(language=2.0), 0.9)
    warning = said(frame, derived="nmf")[0]
    assert warning.tone == "warning"
    assert "derived from the words" in warning.claim
    section = covariates_section(CovariatesRecord(frame, None, "nmf"), DESIGN)
    assert section is not None
    assert section.notes[0][0] == "Derived topics"
    plain = covariates_section(CovariatesRecord(frame, None, None), DESIGN)
    assert plain is not None
    assert not plain.notes
    assert plain.panels[0].views[ALL_LAYERS].data[0].name == "topic"
    alone = CovariatesRecord(with_topic(frame.iloc[:0], 0.5), None, None)
    assert covariates_section(alone, DESIGN) is None


def test_texts_are_read_from_the_corpus(tmp_path: Path) -> None:
    texts = ["It is the best of times and that is not all of it for us.", "Это русский текст"]
    table = pa.table({"id": ["x", "y"], "text": texts})
    pq.write_table(table, tmp_path / "probe-00000-of-00001.parquet")
    frame = text_covariates(tmp_path, "probe")
    assert frame is not None
    assert frame.loc["x"].tolist() == ["Latin", "English"]
    assert frame.loc["y"].tolist() == ["Cyrillic", "Cyrillic"]
    assert text_covariates(tmp_path, "test") is None
