"""E15: experts that follow the years are found; a speech is one observation, not many."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats

from moescope.analysis.chapters.time.dates import dated_documents, name_periods
from moescope.analysis.chapters.time.figures import period_figure
from moescope.analysis.chapters.time.measures import TimeRecord, TimeResults, analyse_time
from moescope.analysis.chapters.time.verdict import time_sentences
from moescope.analysis.data.design import Design
from moescope.analysis.data.documents import DocumentCounts
from moescope.analysis.data.run import time_blocks
from moescope.analysis.statistics.bootstrap import poisson_weights
from moescope.configs.errors import UserError
from moescope.data_processors.documents import METADATA

LAYERS, EXPERTS, PER_ORIGIN, ORIGINS = (1, 3), 4, 6, 30


def corpus(
    effect: float, generator: np.random.Generator, origin_noise: float = 0.5
) -> tuple[DocumentCounts, pd.DataFrame, dict[str, str]]:
    """Speeches of a year each, of six documents with a routing of their own.

    With an effect, expert 2 of layer 3 gains that much log-odds from the first to the last year.
    """
    years = np.sort(generator.choice(np.arange(1800, 2000), ORIGINS, replace=False))
    own = origin_noise * generator.normal(size=(ORIGINS, len(LAYERS), EXPERTS))
    own[:, 1, 2] += effect * (years - 1800) / 200
    logits = np.repeat(own, PER_ORIGIN, axis=0)
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    number = ORIGINS * PER_ORIGIN
    tokens = generator.poisson(60, number) + 1
    counts = generator.multinomial(tokens[:, None], shares)
    ids = [f"d{row:04d}" for row in range(number)]
    data = DocumentCounts(
        ids=ids,
        topic_ids=np.zeros(number, np.int64),
        topics=("all",),
        layers=LAYERS,
        top_k=1,
        counts=counts,
        tokens=tokens,
        masked_counts=np.zeros_like(counts),
        masked_tokens=np.zeros(number, np.int64),
    )
    dates = [date(int(year), 5, 1) for year in np.repeat(years, PER_ORIGIN)]
    order = generator.permutation(number)
    documents = pd.DataFrame({"id": ids, "date": dates}).iloc[order]
    return data, documents, {name: f"s{row // PER_ORIGIN}" for row, name in enumerate(ids)}


def analyse(effect: float, seed: int, grouped: bool = True, permutations: int = 99) -> TimeResults:
    generator = np.random.default_rng(seed)
    data, documents, origins = corpus(effect, generator)
    weights = poisson_weights(data.ids, 100, seed)
    blocks = origins if grouped else None
    results = analyse_time(data, documents, blocks, permutations, weights, generator)
    assert results is not None
    return results


def test_a_planted_trend_is_found_at_its_expert_with_its_sign() -> None:
    results = analyse(4.0, 0)
    top = results.trends.loc[results.trends.trend.abs().idxmax()]
    assert (top.layer, top.expert) == (3, 2)
    assert top.trend > 0.7
    assert top.change > 0.3
    assert top.p_value == 0.01
    assert results.information.family_p_value.tolist()[1] <= 0.05
    assert results.information.blocks.tolist() == [ORIGINS] * 2
    part = results.shares[results.shares.layer == 3]
    figure = period_figure(part, results.trends[results.trends.layer == 3], 0.05)
    assert "E2 ●" in [trace.name for trace in figure.data]


def test_origins_are_the_unit() -> None:
    """Speeches have a routing of their own: as 180 documents they would pass for a trend."""
    grouped = [analyse(0.0, seed, permutations=39) for seed in range(40)]
    alone = [analyse(0.0, seed, grouped=False, permutations=39) for seed in range(40)]
    most = stats.binom.ppf(0.999, 40, 0.05)
    for name in ("information", "trends"):
        column = "family_p_value" if name == "information" else "p_value"
        assert sum(getattr(r, name)[column].min() <= 0.05 for r in grouped) <= most
        assert sum(getattr(r, name)[column].min() <= 0.05 for r in alone) > 2 * most


def test_shares_equal_a_loop() -> None:
    data, documents, origins = corpus(1.0, np.random.default_rng(3))
    dated = dated_documents(data, documents, origins)
    assert dated is not None
    assert len(dated.periods) <= 12
    results = analyse(1.0, 3)
    month_of = {row.id: row.date for row in documents.itertuples()}
    for row in results.shares.sample(20, random_state=0).itertuples():
        first, last = (int(year) for year in row.period.split("–"))
        own = [d for d, name in enumerate(data.ids) if first <= month_of[name].year <= last]
        layer = LAYERS.index(row.layer)
        share = data.counts[own, layer, row.expert].sum() / data.tokens[own].sum()
        assert row.share == pytest.approx(share)
        assert row.documents == len(own)
        assert row.blocks * PER_ORIGIN == len(own)
        if row.blocks < 3:
            assert np.isnan(row.low)
        else:
            assert row.low <= row.share <= row.high


def test_periods_are_round_and_few() -> None:
    names, ids = name_periods(np.array([1990 * 12, 1991 * 12 + 11, 1995 * 12, 2012 * 12 + 3]))
    assert names == ("1990–1991", "1994–1995", "2012–2013")
    assert ids.tolist() == [0, 0, 1, 2]
    assert name_periods(np.array([1990, 1992, 2001]) * 12)[0] == ("1990", "1992", "2001")
    names, ids = name_periods(np.arange(1790, 2013) * 12)
    assert names[0] == "1780–1799"
    assert len(names) == 12
    assert (np.diff(ids) >= 0).all()
    names, ids = name_periods(np.array([2019 * 12, 2019 * 12 + 1, 2019 * 12 + 1]))
    assert names == ("2019-01", "2019-02")


def test_without_dates_or_with_one_there_is_no_chapter() -> None:
    data, documents, origins = corpus(0.0, np.random.default_rng(0))
    generator = np.random.default_rng(0)
    weights = poisson_weights(data.ids, 10, 0)
    for dates in (None, date(1990, 1, 1)):
        frame = documents.assign(date=[dates] * len(documents))
        assert analyse_time(data, frame, origins, 19, weights, generator) is None


def test_speakers_of_several_speeches_are_one_observation() -> None:
    """What a speaker prefers for four speeches in a row would pass for a change with the years."""
    rejected = {True: 0, False: 0}
    for seed in range(40):
        generator = np.random.default_rng([4, seed])
        data, documents, _ = corpus(0.0, generator, origin_noise=0.0)
        own = np.repeat(generator.normal(size=(10, len(LAYERS), EXPERTS)), 18, axis=0)
        shares = np.exp(own) / np.exp(own).sum(-1, keepdims=True)
        counts = generator.multinomial(data.tokens[:, None], shares)
        spoken = replace(data, counts=counts)
        for by_speaker in rejected:
            size = 18 if by_speaker else PER_ORIGIN
            blocks = {name: f"b{row // size}" for row, name in enumerate(data.ids)}
            weights = np.zeros((0, len(data.ids)), np.float32)
            found = analyse_time(spoken, documents, blocks, 39, weights, generator)
            assert found is not None
            smallest = min(found.trends.p_value.min(), found.information.family_p_value.min())
            rejected[by_speaker] += smallest <= 0.05
    most = stats.binom.ppf(0.9999, 40, 0.1)  # two tests
    assert rejected[True] <= most < rejected[False]


def test_blocks_are_a_named_column(tmp_path: Path) -> None:
    path = tmp_path / "documents-probe.parquet"
    metadata = pa.array([[("president", "A")], [("president", "B")], []], METADATA)
    columns = {"id": ["x", "y", "z"], "source": ["s"] * 3, "metadata": metadata}
    pq.write_table(pa.table(columns), path)
    assert time_blocks(path, "president") == {"x": "A", "y": "B"}
    assert time_blocks(path, "source") == dict.fromkeys("xyz", "s")
    assert time_blocks(path, "group") is None
    with pytest.raises(UserError, match=r"time_blocks=presidents: .*did you mean.*group, source"):
        time_blocks(path, "presidents")


@pytest.mark.parametrize(
    ("effect", "dated", "tone", "says"),
    [
        (4.0, ORIGINS, "finding", "changes; L3·E2 gains most steadily"),
        (0.0, ORIGINS, "none", "No evidence that the routing of any layer changes with time"),
        (4.0, 9, "warning", "only 9 dated groups"),
    ],
)
def test_sentences_say_what_was_planted(effect: float, dated: int, tone: str, says: str) -> None:
    generator = np.random.default_rng(6)
    data, documents, origins = corpus(effect, generator)
    documents = documents[documents["id"] < f"d{dated * PER_ORIGIN:04d}"]
    weights = np.zeros((0, len(data.ids)), np.float32)
    time = analyse_time(data, documents, origins, 99, weights, generator)
    design = Design(("all",), LAYERS, EXPERTS, 1, 0.05, 99)
    (sentence,) = time_sentences(TimeRecord(time, pd.DataFrame()), design)
    assert sentence.tone == tone
    assert says in sentence.claim
