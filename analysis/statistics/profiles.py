"""Which expert of one router is which of another, told by the token types that each takes.

Words come in bursts: a type that few texts use goes where these texts go, in any router. So two
routers that have nothing to do with each other agree on such types. Profiles are therefore freed
of what the groups of texts do, and types that one group holds to half are left out.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.optimize import linear_sum_assignment

BLOCK = 32  # types of like frequency, among which the null shuffles
MOST_OF_ONE_GROUP = 0.5  # of a type's tokens
ROUNDS, RIDGE = 30, 1.0  # of the fit; tokens of no effect added to each group


@dataclass(frozen=True)
class TypeProfiles:
    """Experts of token types, whatever texts they stand in.

    Attributes:
        shares: (X, L, E) share of the type's tokens that would choose the expert in an average
            group.
        tokens: (X).
        of_one_group: (X) largest share of the type's tokens that come from one group.
    """

    shares: np.ndarray
    tokens: np.ndarray
    of_one_group: np.ndarray


def type_profiles(
    experts: np.ndarray, types: np.ndarray, groups: np.ndarray, num_experts: int
) -> TypeProfiles:
    """Fits share = f(type) + b(group) to the tokens by least squares, and returns f.

    Alternating: f_x = mean of (choice − b_g) over the tokens of x, b_g = Σ (choice − f_x) / (n_g +
    1), less its mean. Only sums by type and by group are needed.

    Args:
        experts: (N, L, k) chosen experts; E = slot that no expert executed.
        types: (N) type of each token, from 0, each with a token.
        groups: (N) group of each token, from 0.
        num_experts: E.
    """
    number, many = int(types.max()) + 1, int(groups.max()) + 1
    ones = np.ones(len(types))
    mix = sparse.csr_array((ones, (groups, types)), (many, number))  # tokens by group and type
    mix.sum_duplicates()
    by_type = summed_choices(experts, types, number, num_experts, ones)
    by_group = summed_choices(experts, groups, many, num_experts, ones)
    tokens = np.bincount(types, minlength=number)
    sizes = np.bincount(groups, minlength=many)[:, None] + RIDGE
    shares, across = by_type / tokens[:, None], sparse.csr_array(mix.T)
    for _ in range(ROUNDS):
        effects = (by_group - mix @ shares) / sizes
        effects -= effects.mean(axis=0)
        shares = (by_type - across @ effects) / tokens[:, None]
    largest = np.asarray(mix.max(axis=0).todense()).ravel()
    shape = number, experts.shape[1], num_experts
    return TypeProfiles(shares.reshape(shape), tokens, largest / tokens)


def summed_choices(
    experts: np.ndarray, rows: np.ndarray, num_rows: int, num_experts: int, weights: np.ndarray
) -> np.ndarray:
    """Adds the weights of tokens by row, layer and chosen expert: (R, L·E).

    Args:
        experts: (N, L, k) chosen experts; E = slot that no expert executed.
        rows: (N) row of each token.
        num_rows: R.
        num_experts: E.
        weights: (N) of each token.
    """
    layers, slots = experts.shape[1], num_experts + 1
    sums = np.zeros((num_rows, layers, slots))
    for layer in range(layers):
        for chosen in experts[:, layer].T:
            counted = np.bincount(rows * slots + chosen, weights, num_rows * slots)
            sums[:, layer] += counted.reshape(num_rows, slots)
    return sums[..., :-1].reshape(num_rows, -1)


def standardised(profiles: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Centres and scales over types so that products of two add up to a correlation: (…, X)."""
    centred = profiles - (profiles @ weights)[..., None]
    norm = np.sqrt((centred**2 @ weights)[..., None])
    unit: np.ndarray = np.divide(centred, norm, out=np.zeros_like(centred), where=norm > 1e-12)
    return unit * np.sqrt(weights)


def matched(
    first: np.ndarray, second: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs the experts of each layer so that their profiles correlate best, all pairs together.

    Hungarian assignment, as for neurons across networks in arXiv 1511.07543.

    Args:
        first: (L, E₁, X) `standardised`.
        second: (L, E₂, X) not yet.
        weights: (X) of the types; sum 1.

    Returns:
        Correlation of each expert of the first with its match, (L, E₁) with NaN where it has none,
        and the match, (L, E₁) with −1 there.
    """
    similarity = np.full(first.shape[:2], np.nan)
    matches = np.full(first.shape[:2], -1, dtype=np.int64)
    correlations = first @ standardised(second, weights).swapaxes(1, 2)
    for layer, table in enumerate(correlations):
        experts, partners = linear_sum_assignment(table, maximize=True)
        similarity[layer, experts] = table[experts, partners]
        matches[layer, experts] = partners
    return similarity, matches


def type_orders(generator: np.random.Generator, types: int, permutations: int) -> np.ndarray:
    """Orders of types, sorted by frequency, that move each only among its like: (P, X)."""
    keys = generator.random((permutations, types)) + np.arange(types) // BLOCK
    orders: np.ndarray = np.argsort(keys, axis=1)
    return orders
