"""Settings against seeds: η² is scipy's, planted effects are found, p-values are honest."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, f_oneway

from moescope.analysis.comparison.seeds import MEASURES, settings_against_seeds
from moescope.analysis.comparison.settings import Settings

SETTINGS, SEEDS = 4, 3
RUNS = [f"rate={rate},seed={seed}" for rate in range(SETTINGS) for seed in range(SEEDS)]


def settings_of(rates: list[int]) -> Settings:
    frame = pd.DataFrame(
        {"masking.probability": rates, "seed": [int(run[-1]) for run in RUNS]}, RUNS, dtype=object
    )
    return Settings(frame, ("masking.probability", "seed"))


SWEPT = settings_of([int(run[5]) for run in RUNS])


def measures_of(**columns: np.ndarray) -> pd.DataFrame:
    frame = pd.DataFrame({"run": RUNS} | dict.fromkeys(MEASURES, np.nan))
    return frame.assign(**columns)


def test_planted_settings_are_told_from_seeds() -> None:
    generator = np.random.default_rng(0)
    noise = generator.normal(size=(2, len(RUNS)))
    loss = np.repeat([4.0, 5.0, 6.0, 7.0], SEEDS) + 0.1 * noise[0]
    found = settings_against_seeds(
        measures_of(validation_loss=loss, topic_share=noise[1]), SWEPT, generator
    ).set_index("measure")
    assert list(found.index) == ["validation_loss", "topic_share"]
    assert found.family_p_value["validation_loss"] <= 0.01
    assert found.family_p_value["topic_share"] > 0.1
    assert found.setting_sd["validation_loss"] == pytest.approx(1.29, abs=0.1)
    assert found.seed_sd["validation_loss"] == pytest.approx(0.1, abs=0.05)
    assert (found.null_low <= found.null_mean).all()
    assert (found.null_mean <= found.null_high).all()
    assert (found[["runs", "settings"]] == (len(RUNS), SETTINGS)).all(axis=None)
    for name, values in (("validation_loss", loss), ("topic_share", noise[1])):
        f = f_oneway(*values.reshape(SETTINGS, SEEDS)).statistic * (SETTINGS - 1)
        assert found.explained[name] == pytest.approx(f / (f + len(RUNS) - SETTINGS))


def test_p_values_keep_their_rate_without_an_effect() -> None:
    generator = np.random.default_rng(1)
    rejected, rounds = 0, 100
    for _ in range(rounds):
        noise = dict(zip(MEASURES, generator.normal(size=(5, len(RUNS))), strict=True))
        found = settings_against_seeds(measures_of(**noise), SWEPT, generator)
        rejected += (found.family_p_value <= 0.05).any()
    assert rejected <= binom.ppf(0.999, rounds, 0.05)
    assert rejected >= binom.ppf(0.001, rounds, 0.05)


@pytest.mark.parametrize("rates", [list(range(len(RUNS))), [0] * len(RUNS)])
def test_nothing_is_said_without_repeated_or_different_settings(rates: list[int]) -> None:
    generator = np.random.default_rng(2)
    measures = measures_of(validation_loss=generator.normal(size=len(RUNS)))
    assert settings_against_seeds(measures, settings_of(rates), generator).empty


def test_runs_without_a_measure_are_left_out_and_constant_ones_prove_nothing() -> None:
    generator = np.random.default_rng(3)
    loss = generator.normal(size=len(RUNS))
    loss[-1] = np.nan
    measures = measures_of(validation_loss=loss, max_violation=np.full(len(RUNS), 0.5))
    found = settings_against_seeds(measures, SWEPT, generator).set_index("measure")
    assert (found.runs == len(RUNS) - 1).all()
    assert found.explained["max_violation"] == 0
    assert found.p_value["max_violation"] == 1
