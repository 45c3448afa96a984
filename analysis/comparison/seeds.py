"""Settings against seeds: do runs of one setting agree more than runs of different ones?

One-way analysis of variance with a permutation null: the settings are given to the runs in every
other way, or, where these are too many, in a random draw of them.
"""

import numpy as np
import pandas as pd

from ..statistics.labellings import labellings, smallest_p
from .settings import Settings, setting_text

MEASURES = {
    "validation_loss": "the validation loss",
    "topic_share": "topic information",
    "class_share": "what the token class tells",
    "token_share": "what the token tells",
    "max_violation": "the balance",
}  # column of `measures.run_measures` → what it is
SHUFFLES = 999
ALPHA = 0.05  # of every test that a comparison makes


def same_settings(settings: Settings) -> pd.Series:
    """Run → number of its group: runs of one group have the same settings, the seed aside."""
    others = settings.frame.drop(columns=["seed"], errors="ignore")
    texts = others.map(setting_text).agg("\x1f".join, axis=1)
    return pd.Series(pd.factorize(texts)[0], settings.frame.index)


def settings_against_seeds(
    measures: pd.DataFrame, settings: Settings, generator: np.random.Generator
) -> pd.DataFrame:
    """Tests for each measure whether the settings move it more than seeds do.

    Args:
        measures: `measures.run_measures`.
        settings: what tells runs of different groups apart.
        generator: of the shuffles.

    Returns:
        One row per measure that the runs have: `measure`, `explained` (η² in [0, 1]: the share of
        the variance between runs that lies between settings), `setting_sd` (standard deviation of
        the settings' means, in the measure's unit), `seed_sd` (pooled, within settings),
        `null_mean`, `null_low`, `null_high` (of η² with the settings given to the runs in other
        ways, 2.5% and 97.5%), `p_value`, `family_p_value` (largest η² of all measures; both exact
        where there are at most 20,000 ways), `smallest_p` (that so many runs can give), `is_exact`,
        `runs`, `settings`, `permutations` (ways that were tried). Empty without a second setting,
        or a second run of one. Runs that lack one of the measures are left out.
    """
    known = [name for name in MEASURES if measures[name].notna().any()]
    complete = measures[measures[known].notna().all(axis=1)]
    groups, _ = pd.factorize(same_settings(settings).reindex(complete.run))
    count = groups.max(initial=-1) + 1
    if not known or count < 2 or count == len(groups):
        return pd.DataFrame(columns=["measure", "explained", "family_p_value"])
    member = np.eye(count)[groups]  # (R, G)
    values = complete[known].to_numpy(dtype=float)  # (R, M)
    ways = labellings(groups, SHUFFLES, generator)
    explained = explained_variance(values, np.eye(count)[ways.labels])
    null = explained[1:]
    means = member.T @ values / member.sum(axis=0)[:, None]
    within = ((values - means[groups]) ** 2).sum(axis=0) / (len(groups) - count)
    return pd.DataFrame(
        {
            "measure": known,
            "explained": explained[0],
            "setting_sd": means.std(axis=0, ddof=1),
            "seed_sd": np.sqrt(within),
            "null_mean": null.mean(axis=0),
            "null_low": np.quantile(null, 0.025, axis=0),
            "null_high": np.quantile(null, 0.975, axis=0),
            "p_value": ways.p_values(explained),
            "family_p_value": _family_p(explained),
            "smallest_p": smallest_p(groups, SHUFFLES),
            "is_exact": ways.is_complete,
            "runs": len(groups),
            "settings": count,
            "permutations": len(ways.labels),
        }
    )


def _family_p(explained: np.ndarray) -> np.ndarray:
    """P-values of (P, M) statistics against the largest of each way; the first way is observed."""
    largest = explained.max(axis=1, keepdims=True)
    return (largest >= explained[0] - 1e-9).mean(axis=0)


def explained_variance(values: np.ndarray, member: np.ndarray) -> np.ndarray:
    """η² = Σ_g n_g (mean_g − mean)² / Σ (value − mean)², 0 where all values are equal: (P, M).

    Args:
        values: (R, M) of R runs and M measures.
        member: (P, R, G) 1 where a run belongs to a group, in each of P ways.
    """
    centred = values - values.mean(axis=0)
    total = (centred**2).sum(axis=0)
    sums = member.swapaxes(1, 2) @ centred  # (P, G, M)
    between = (sums**2 / np.maximum(member.sum(axis=1), 1)[..., None]).sum(axis=1)
    return np.divide(between, total, out=np.zeros_like(between), where=total > 0)
