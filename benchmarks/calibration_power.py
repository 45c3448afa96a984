"""Power at the effect that the report prints as the smallest that it would have found."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np

from benchmarks.calibration_tests import PERMUTATIONS, PValues, document_p, documents_of
from benchmarks.null_corpora import KIND, UNKIND, Plan, draw_corpus, expected_shares
from moescope.analysis.chapters.topics.information import topic_information, topic_tests
from moescope.analysis.statistics.bootstrap import poisson_weights
from moescope.analysis.statistics.information_size import share_information

CORPORA, DIRECTIONS, STEPS, DRAWS = 40, 8, 14, 40_000


@cache
def printed_bits(plan: Plan) -> float:
    """What the report prints, as the median over corpora without an effect."""
    found = []
    for corpus in range(CORPORA):
        generator = np.random.default_rng([21, corpus])
        data = documents_of(draw_corpus(plan, generator))
        tests = topic_tests(data, PERMUTATIONS, generator)
        weights = poisson_weights(data.group_names, 10, corpus)
        found.append(topic_information(data, tests, weights).detectable_bits.max())
    return float(np.median(found))


@cache
def with_effect_of(plan: Plan, bits: float) -> Plan:
    """The plan with an effect of so many bits in its first layer, found by bisection."""
    low, high = 0.0, 4.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        shares = expected_shares(replace(plan, effect=middle), DRAWS)[:, 0]
        low, high = (middle, high) if share_information(shares) < bits else (low, middle)
    return replace(plan, effect=high)


def detectable_p(plan: Plan) -> PValues:
    """E3 of corpora with an effect of just that size, in one of eight directions."""

    def p_values(generator: np.random.Generator) -> dict[str, float]:
        own = replace(plan, effect_seed=int(generator.integers(DIRECTIONS)))
        found = document_p(with_effect_of(own, printed_bits(plan)))(generator)
        return {"E3": found["E3"]}

    return p_values


NAMES = (
    "length x10",
    "heavy-tailed lengths",
    "one heterogeneous topic",
    "five documents a group",
    "tiny topics",
    "20 topics x 10 documents",
    "zero-inflated experts",
    "64 experts, length x4",
)
DETECTABLE: dict[str, Callable[[np.random.Generator], dict[str, float]]] = {
    **{name: detectable_p((KIND | UNKIND)[name]) for name in (*KIND, *NAMES)},
    "10 groups a topic": detectable_p(Plan(groups=(10,) * 4)),
    "100 groups a topic": detectable_p(Plan(groups=(100,) * 4, group_noise=0.4)),
    "two topics": detectable_p(Plan(groups=(20, 20))),
    "four layers": detectable_p(Plan(layers=4, group_noise=0.5)),
}
