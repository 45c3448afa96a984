"""E15: experts that follow the years are found; a speech is one observation, not many."""

from datetime import date

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from moescope.analysis.chapters.time.dates import dated_origins, name_periods
from moescope.analysis.chapters.time.figures import period_figure
from moescope.analysis.chapters.time.measures import TimeResults, analyse_time
from moescope.analysis.data.documents import DocumentCounts
from moescope.analysis.statistics.bootstrap import poisson_weights
from moescope.analysis.statistics.permutations import document_orders

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
    orders = document_orders(generator, len(data.ids), permutations)
    weights = poisson_weights(data.ids, 100, seed)
    results = analyse_time(data, documents, origins if grouped else None, orders, weights)
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
    assert results.information.origins.tolist() == [ORIGINS] * 2
    part = results.shares[results.shares.layer == 3]
    figure = period_figure(part, results.trends[results.trends.layer == 3], 0.05)
    assert "E2 ●" in [trace.name for trace in figure.data]


def test_origins_are_the_unit() -> None:
    """Speeches have a routing of their own: as 180 documents they would pass for a trend."""
    grouped = [analyse(0.0, seed, permutations=39) for seed in range(60)]
    alone = [analyse(0.0, seed, grouped=False, permutations=39) for seed in range(60)]
    most = stats.binom.ppf(0.999, 60, 0.05)
    for name in ("information", "trends"):
        column = "family_p_value" if name == "information" else "p_value"
        assert sum(getattr(r, name)[column].min() <= 0.05 for r in grouped) <= most
        assert sum(getattr(r, name)[column].min() <= 0.05 for r in alone) > 2 * most


def test_shares_equal_a_loop() -> None:
    data, documents, origins = corpus(1.0, np.random.default_rng(3))
    dated = dated_origins(data, documents, origins)
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
        assert row.origins * PER_ORIGIN == len(own)
        if row.origins < 3:
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
    orders = document_orders(np.random.default_rng(0), len(data.ids), 19)
    weights = poisson_weights(data.ids, 10, 0)
    for dates in (None, date(1990, 1, 1)):
        frame = documents.assign(date=[dates] * len(documents))
        assert analyse_time(data, frame, origins, orders, weights) is None
