"""What the words of a made-up corpus leave of its experts' choices, in dense arrays."""

import numpy as np

from benchmarks.null_tokens import TokenPlan, draw_tokens

FEWEST_GROUPS = 5


def group_residuals(
    plan: TokenPlan, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log word counts (G, X), residual shares (G, E) and topics (G) of the groups of a corpus.

    A residual is the share of a group's tokens less what the words' choices in the other groups
    make expect; words of fewer than five groups are left out of it.
    """
    corpus = draw_tokens(plan, generator)
    group = corpus.groups[corpus.documents]
    shape = int(group.max()) + 1, int(corpus.types.max()) + 1, corpus.num_experts
    table = np.zeros(shape)
    np.add.at(table, (group, corpus.types, corpus.experts), 1)
    words = table.sum(axis=2)
    kept = (words > 0).sum(axis=0) >= FEWEST_GROUPS
    table = table[:, kept]
    load = table.sum((0, 1)) / table.sum()
    outside = table.sum(axis=0) - table
    number = table.sum(axis=2, keepdims=True)
    expected = number * (outside + load) / (outside.sum(axis=2, keepdims=True) + 1)
    residuals = (table - expected).sum(axis=1) / np.maximum(number.sum(axis=1), 1)
    logs = np.log1p(words)
    logs /= np.linalg.norm(logs, axis=1, keepdims=True)
    return logs, residuals, np.arange(shape[0]) // plan.groups
