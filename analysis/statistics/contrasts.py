"""One group of observations against the others, and experts of a kind against their like.

The bootstrap-t (Hall 1988, Annals of Statistics 16) resamples whole units within their topic and
studentises every draw anew, so that intervals are as lopsided as the values are, and a test and
its interval come from the same draws.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from .bootstrap import FEWEST_FOR_INTERVAL, LEVEL
from .null_test import permutation_p
from .units import MIN_GROUPS_FOR_P

TINY = 1e-9  # a standard error below it is that of values that are all the same


@dataclass(frozen=True)
class Contrasts:
    """Estimates and their studentised draws; C contrasts of T topics and K variables.

    Attributes:
        estimates: (C).
        errors: (C) standard errors.
        draws: (B, C) studentised deviations of the bootstrap from the estimates.
        units: (C) units of the smallest topic behind each.
    """

    estimates: np.ndarray
    errors: np.ndarray
    draws: np.ndarray
    units: np.ndarray

    @property
    def statistics(self) -> np.ndarray:
        """Estimates in standard errors (C); 0 where nothing varies."""
        return _ratio(self.estimates, self.errors)

    def intervals(self) -> tuple[np.ndarray, np.ndarray]:
        """95% intervals (C): bootstrap-t from 10 units, Student's t from 3, NaN below."""
        edges = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
        student = stats.t.ppf(edges[1], np.maximum(self.units - 1, 1))
        many = (self.units >= MIN_GROUPS_FOR_P) & bool(len(self.draws))
        below, above = -student, student
        if len(self.draws):
            drawn = np.quantile(self.draws, edges, axis=0)
            below, above = np.where(many, drawn[0], below), np.where(many, drawn[1], above)
        known = self.units >= FEWEST_FOR_INTERVAL
        low, high = self.estimates - above * self.errors, self.estimates - below * self.errors
        return np.where(known, low, np.nan), np.where(known, high, np.nan)

    def p_values(self) -> tuple[np.ndarray, np.ndarray]:
        """One-sided p (C), each by itself and family-wise by the largest; above 0 is the claim.

        NaN where the smallest topic behind any has fewer than 10 units.
        """
        if not len(self.draws) or not len(self.units) or self.units.min() < MIN_GROUPS_FOR_P:
            nothing = np.full(self.estimates.shape, np.nan)
            return nothing, nothing
        largest = self.draws.max(axis=1, keepdims=True)
        found = self.statistics
        return permutation_p(found, self.draws), permutation_p(found, largest)


def topic_draws(topic_ids: np.ndarray, draws: int, generator: np.random.Generator) -> np.ndarray:
    """How often each unit is drawn when every topic is resampled to its size: (B, U)."""
    weights = np.zeros((draws, len(topic_ids)))
    for topic in np.unique(topic_ids):
        own = np.flatnonzero(topic_ids == topic)
        weights[:, own] = generator.multinomial(len(own), np.full(len(own), 1 / len(own)), draws)
    return weights


def topic_moments(
    values: np.ndarray, topic_ids: np.ndarray, num_topics: int, draws: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Means, and their squared standard errors, of each topic in each draw: (B, T, K) both.

    Args:
        values: (U, K) of the units.
        topic_ids: (U); each topic has a unit.
        num_topics: T.
        draws: (B, U) as of `topic_draws`.
    """
    means = np.zeros((len(draws), num_topics, values.shape[1]))
    errors = np.zeros_like(means)
    for topic in range(num_topics):
        own = topic_ids == topic
        number = int(own.sum())
        centre = values[own].mean(axis=0)  # for the sake of precision
        first = draws[:, own] @ (values[own] - centre) / number
        second = draws[:, own] @ (values[own] - centre) ** 2 / number
        means[:, topic] = first + centre
        errors[:, topic] = np.maximum(second - first**2, 0) / max(number - 1, 1)
    return means, errors


def topic_contrasts(
    values: np.ndarray, topic_ids: np.ndarray, weights: np.ndarray, draws: np.ndarray
) -> Contrasts:
    """Σ_t w_t · (mean of topic t), for each variable, with bootstrap-t draws.

    Args:
        values: (U, K) of the units, one variable per contrast.
        topic_ids: (U) from 0, each topic with a unit.
        weights: (K, T) w of each contrast.
        draws: (B, U) as of `topic_draws`.
    """
    topics = weights.shape[1]
    everyone = np.ones((1, len(values)))
    mean, error = topic_moments(values, topic_ids, topics, everyone)
    estimates = (mean[0] * weights.T).sum(axis=0)
    errors = np.sqrt((error[0] * weights.T**2).sum(axis=0))
    means, variances = topic_moments(values, topic_ids, topics, draws)
    drawn = (means * weights.T).sum(axis=1) - estimates
    studentised = _ratio(drawn, np.sqrt((variances * weights.T**2).sum(axis=1)))
    sizes = np.bincount(topic_ids, minlength=topics)
    units = np.where(weights != 0, sizes, np.iinfo(np.int64).max).min(axis=1)
    return Contrasts(estimates, errors, studentised, units)


def own_weights(own: np.ndarray, num_topics: int) -> np.ndarray:
    """1 for a contrast's own topic, 0 for the others: (C) → (C, T)."""
    weights: np.ndarray = np.eye(num_topics)[own]
    return weights


def specificity_weights(own: np.ndarray, num_topics: int) -> np.ndarray:
    """1 for a contrast's own topic, −1 / (T − 1) for each other: (C) → (C, T)."""
    single = own_weights(own, num_topics)
    return single - (1 - single) / max(num_topics - 1, 1)


def relabelled_p(
    values: np.ndarray,
    strata: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    permutations: int,
    generator: np.random.Generator,
) -> np.ndarray:
    """Step-down p of chosen rows that would be exchangeable with the others of their stratum.

    The labels of the rows are shuffled within strata, so that a slot (row, column) holds any row
    of its stratum, the other chosen ones included; each slot is compared with the largest value of
    all slots that are no larger than it (Westfall and Young 1993, step-down). No p is below
    1 / (rows of the stratum), about.

    Args:
        values: (K, T) statistics of each row, on one scale within a column.
        strata: (K) rows of one stratum are alike but for the choice.
        rows: (C) chosen rows.
        columns: (C) the column that each was chosen for.
        permutations: P.
        generator: of the shuffles.

    Returns:
        (C) one-sided p-values, family-wise.
    """
    observed = values[rows, columns]
    if not len(rows):
        return observed
    numbers = np.unique(strata, return_inverse=True)[1]
    keys = generator.random((permutations, len(values))) + numbers
    place = np.empty(keys.shape, dtype=np.int64)  # each row's place is taken by one of its stratum
    place[:, np.argsort(numbers, kind="stable")] = np.argsort(keys, axis=1)
    null = values[place[:, rows], columns]
    descending = np.argsort(-observed, kind="stable")
    largest = np.maximum.accumulate(null[:, descending[::-1]], axis=1)[:, ::-1]
    stepwise = np.maximum.accumulate(permutation_p(observed[descending], largest))
    p_values = np.empty(len(rows))
    p_values[descending] = stepwise
    return p_values


def standardised_within(values: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Values (K, T) less the mean of their stratum, in its standard deviations; 0 if all equal."""
    result = np.zeros(values.shape)
    for stratum in np.unique(strata):
        own = strata == stratum
        centred = values[own] - values[own].mean(axis=0)
        result[own] = _ratio(centred, np.broadcast_to(values[own].std(axis=0), centred.shape))
    return result


def _ratio(values: np.ndarray, errors: np.ndarray) -> np.ndarray:
    return np.divide(values, errors, out=np.zeros(values.shape), where=errors > TINY)
