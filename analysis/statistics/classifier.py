"""Labels read off features by kernel ridge regression: closed form, whole groups held out.

Ridge regression on coded labels (Hastie, Tibshirani and Friedman 2009, section 4.2) in its dual
form, so that only the number of observations matters, not that of features. The smoother of a fold
does not depend on the labels: it is decomposed once, and then serves every permutation of them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from .bootstrap import LEVEL
from .permutations import permuted_sums

FOLDS = 5
PENALTIES = 10.0 ** np.arange(-2, 2.1, 0.5)  # of a kernel whose mean diagonal is 1
BATCH_BYTES = 2**27
# Held-out observations share what they were predicted from, so that accuracies vary by more than
# those of independent ones (Bates, Hastie and Tibshirani 2021, arXiv 2104.00673): by these factors
# in variance, as measured over the corpora of docs/calibration.md.
SHARED_TRAINING, SHARED_GAIN = 1.7, 1.4


@dataclass(frozen=True)
class FoldSmoother:
    """The kernel of the observations that one fold leaves for training, decomposed.

    Attributes:
        train: (M) rows that train.
        test: (N) rows that are predicted.
        vectors: (M, M) eigenvectors of the centred kernel of the training rows.
        values: (M) its eigenvalues, not below 0.
        cross: (N, M) centred kernel of test and training rows, times the eigenvectors.
    """

    train: np.ndarray
    test: np.ndarray
    vectors: np.ndarray
    values: np.ndarray
    cross: np.ndarray


def group_folds(
    groups: np.ndarray, generator: np.random.Generator, folds: int = FOLDS
) -> np.ndarray:
    """Deals whole groups into folds of about as many observations, blind to labels: (U).

    Args:
        groups: (U) number of each observation's group.
        generator: shuffles groups of the same size.
        folds: how many; fewer where there are fewer groups.
    """
    names, places, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = generator.permutation(len(names))
    order = order[np.argsort(-sizes[order], kind="stable")]
    filled = np.zeros(max(1, min(folds, len(names))))
    fold_of = np.zeros(len(names), dtype=np.int64)
    for group in order.tolist():  # the largest first, each to the emptiest fold
        fold_of[group] = np.argmin(filled)
        filled[fold_of[group]] += sizes[group]
    return fold_of[places]


def unit_kernel(blocks: Sequence[np.ndarray]) -> np.ndarray:
    """Adds the kernels of blocks of features, each scaled to a mean diagonal of 1: (U, U).

    A block of a thousand features and one of ten then weigh the same.

    Args:
        blocks: (U, …) each; centred here, over the observations.
    """
    total = np.zeros((len(blocks[0]), len(blocks[0])))
    for block in blocks:
        centred = block - block.mean(axis=0)
        kernel = centred @ centred.T
        total += kernel / max(np.trace(kernel) / len(kernel), 1e-12)
    return total / len(blocks)


def fold_smoothers(kernel: np.ndarray, folds: np.ndarray) -> list[FoldSmoother]:
    """Decomposes the training kernel of every fold; centring needs training rows alone."""
    smoothers = []
    for fold in np.unique(folds):
        train, test = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        own = kernel[np.ix_(train, train)]
        mean = own.mean(axis=0)
        values, vectors = np.linalg.eigh(own - mean - mean[:, None] + mean.mean())
        other = kernel[np.ix_(test, train)]
        centred = other - other.mean(axis=1, keepdims=True) - mean + mean.mean()
        smoothers.append(
            FoldSmoother(train, test, vectors, np.maximum(values, 0), centred @ vectors)
        )
    return smoothers


def label_scores(
    smoothers: Sequence[FoldSmoother], labels: np.ndarray, num_labels: int
) -> Iterator[np.ndarray]:
    """Score of each label for each observation, learnt from the other folds.

    A label's target is 1 / (its number in training), less the mean: common labels are not
    favoured. The penalty is that of the least generalised cross-validation error inside the
    training rows (Golub, Heath and Wahba 1979), for every row of labels by itself.

    Args:
        smoothers: of all folds.
        labels: (P, U) labels under each permutation, from 0.
        num_labels: T.

    Yields:
        (B, U, T) for the next B permutations; -inf for a label without a training row.
    """
    batch = max(1, BATCH_BYTES // (8 * labels.shape[1] * num_labels))
    for start in range(0, len(labels), batch):
        part = labels[start : start + batch]
        scores = np.empty((*part.shape, num_labels))
        for fold in smoothers:
            own = part[:, fold.train]
            sums = np.concatenate(list(permuted_sums(fold.vectors, own, num_labels)))  # (B, T, M)
            counts = np.stack([(own == label).sum(axis=1) for label in range(num_labels)], axis=1)
            constant = fold.vectors.mean(axis=0)  # targets have the mean 1 / M
            found = _ridge_scores(fold, sums / np.maximum(counts, 1)[..., None] - constant)
            scores[:, fold.test] = np.where((counts > 0)[:, None], found, -np.inf)
        yield scores


def ridge_predictions(smoothers: Sequence[FoldSmoother], targets: np.ndarray) -> np.ndarray:
    """Targets (P, U, T) as predicted from the other folds, without their mean: (P, U, T)."""
    predicted = np.zeros(targets.shape)
    for fold in smoothers:
        own = targets[:, fold.train]
        own = own - own.mean(axis=1, keepdims=True)
        rotated = np.einsum("mk,pmt->ptk", fold.vectors, own, optimize=True)
        predicted[:, fold.test] = _ridge_scores(fold, rotated)
    return predicted


def _ridge_scores(fold: FoldSmoother, rotated: np.ndarray) -> np.ndarray:
    """Predicts from targets (P, T, M) in the basis of the eigenvectors: (P, N, T)."""
    scale = max(fold.values.mean(), 1e-12) if len(fold.values) else 1.0
    energy = (rotated**2).sum(axis=1)  # (P, M)
    # the constant, which has no eigenvalue and no target, takes one degree of freedom
    left = PENALTIES[:, None] * scale / (fold.values + PENALTIES[:, None] * scale)  # (Λ, M)
    freedom = np.maximum(left.sum(axis=1) - 1, 1e-9)
    best = ((energy @ (left**2).T) / freedom**2).argmin(axis=1)
    shrunk = 1 / (fold.values + PENALTIES[best, None] * scale)  # (P, M)
    scores: np.ndarray = (rotated * shrunk[:, None]) @ fold.cross.T
    return scores.swapaxes(1, 2)


def balanced_accuracy(correct: np.ndarray, labels: np.ndarray, num_labels: int) -> np.ndarray:
    """Mean over the labels of the share of their observations predicted right: (P, U) → (P)."""
    shares = []
    for label in range(num_labels):
        own = labels == label
        number = own.sum(axis=-1)
        shares.append(np.where(number > 0, (correct * own).sum(-1) / np.maximum(number, 1), np.nan))
    accuracy: np.ndarray = np.nanmean(np.stack(shares), axis=0)
    return accuracy


def label_margins(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Score of an observation's label less the mean score of the others: (P, U, T) → (P, U).

    Without anything to read, its mean over the labels is 0 whatever the lengths and spreads of
    the observations: scores are linear in the features, and the labels' margins add up to 0.
    """
    own = np.take_along_axis(scores, labels[..., None], axis=-1)[..., 0]
    others: np.ndarray = (scores.sum(axis=-1) - own) / max(scores.shape[-1] - 1, 1)
    return own - others


def studentised_mean(values: np.ndarray, labels: np.ndarray, num_labels: int) -> np.ndarray:
    """Mean over labels of their mean value, in standard errors: (P, U) twice → (P).

    Each label's variance is its own (Welch 1947), so that the permutation of labels keeps its
    level where the labels' values differ in spread (Janssen 1997).
    """
    mean, variance = np.zeros(len(values)), np.zeros(len(values))
    for label in range(num_labels):
        own = labels == label
        number = np.maximum(own.sum(axis=-1), 1)
        level = (values * own).sum(axis=-1) / number
        spread = (((values - level[:, None]) ** 2) * own).sum(axis=-1)
        mean += level
        variance += spread / (np.maximum(number - 1, 1) * number)
    error = np.sqrt(variance)
    return np.divide(mean, error, out=np.zeros_like(mean), where=error > 1e-12 * np.abs(mean))


@dataclass(frozen=True)
class Readout:
    """What a classifier made of its features.

    Attributes:
        correct: (U) whether each observation's label was predicted right.
        statistic: studentised mean margin.
        null_accuracy: (P) balanced accuracy of permuted labels.
        null_statistic: (P) its statistic.
    """

    correct: np.ndarray
    statistic: float
    null_accuracy: np.ndarray
    null_statistic: np.ndarray


def read_labels(kernel: np.ndarray, folds: np.ndarray, labels: np.ndarray) -> Readout:
    """Predicts labels, as they are and permuted, in cross-validation.

    Args:
        kernel: (U, U) as of `unit_kernel`.
        folds: (U) as of `group_folds`.
        labels: (1 + P, U) the labels, and the same permuted.
    """
    number, smoothers = int(labels[0].max()) + 1, fold_smoothers(kernel, folds)
    correct, statistics = [], []
    start = 0
    for scores in label_scores(smoothers, labels, number):
        part = labels[start : start + len(scores)]
        start += len(scores)
        correct.append(scores.argmax(axis=-1) == part)
        margins = label_margins(np.where(np.isfinite(scores), scores, 0.0), part)
        statistics.append(studentised_mean(margins, part, number))
    found, statistic = np.concatenate(correct), np.concatenate(statistics)
    accuracy = balanced_accuracy(found[1:], labels[1:], number)
    return Readout(found[0], float(statistic[0]), accuracy, statistic[1:])


@dataclass(frozen=True)
class Gain:
    """What residual features add to labels that other features already predict.

    Attributes:
        base: (U) whether the other features predicted each label right.
        both: (U) the same with the residual features added.
        statistic: studentised mean margin of what they add.
        null_gain: (P) balanced accuracy that residuals of other observations add.
        null_statistic: (P).
    """

    base: np.ndarray
    both: np.ndarray
    statistic: float
    null_gain: np.ndarray
    null_statistic: np.ndarray


def read_gain(
    base: np.ndarray,
    residuals: np.ndarray,
    folds: np.ndarray,
    labels: np.ndarray,
    orders: np.ndarray,
) -> Gain:
    """Adds to the scores of `base` what residual features predict of the labels left over.

    The null exchanges the residual features of whole observations (Freedman and Lane 1983), over
    all labels: exchanged within a label they would keep what they know of it. Only what is left of
    the features once `base` has explained them may be exchanged so: hence *residual* features.

    Args:
        base: (U, U) kernel of what is known.
        residuals: (U, U) kernel of features less what `base` makes expect.
        folds: (U) as of `group_folds`.
        labels: (U) from 0.
        orders: (P, U) orders of the observations.
    """
    number = int(labels.max()) + 1
    shares = np.eye(number)[labels]
    targets = shares / shares.sum(axis=0)
    known = ridge_predictions(fold_smoothers(base, folds), targets[None])[0]
    left = targets - targets.mean(axis=0) - known
    smoothers = fold_smoothers(residuals, folds)
    every = np.concatenate([np.arange(len(labels))[None], orders])
    before = known.argmax(axis=-1) == labels
    gains, statistics, after = [], [], before
    batch = max(1, BATCH_BYTES // (8 * targets.size))
    for start in range(0, len(every), batch):
        rows = every[start : start + batch]
        added, own = ridge_predictions(smoothers, left[rows]), labels[rows]
        right = (known[rows] + added).argmax(axis=-1) == own
        if not start:
            after = right[0]
        change = right.astype(float) - before[rows]
        gains.append(balanced_accuracy(change, own, number))
        statistics.append(studentised_mean(label_margins(added, own), own, number))
    gain, statistic = np.concatenate(gains), np.concatenate(statistics)
    return Gain(before, after, float(statistic[0]), gain[1:], statistic[1:])


def accuracy_interval(correct: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """95% interval of the balanced accuracy (Wilson 1927), also where all or none are right.

    Its number of observations is that of a plain share with the same standard error.

    Args:
        correct: (U) boolean.
        labels: (U) from 0.
    """
    sizes = np.bincount(labels)
    shares = np.bincount(labels, correct) / np.maximum(sizes, 1)
    share, present = float(shares[sizes > 0].mean()), sizes > 0
    number = present.sum() ** 2 / (1 / sizes[present]).sum()  # if all labels were as easy
    error = (shares * (1 - shares))[present] @ (1 / sizes[present]) / present.sum() ** 2
    if error > 0:
        number = share * (1 - share) / error
    number /= SHARED_TRAINING
    z = float(stats.norm.ppf((1 + LEVEL) / 2))
    middle = (share + z**2 / (2 * number)) / (1 + z**2 / number)
    half = z * np.sqrt(share * (1 - share) / number + z**2 / (4 * number**2))
    half /= 1 + z**2 / number
    return float(middle - half), float(middle + half)


def change_interval(change: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """95% interval of the mean over labels of a paired change (Student's t).

    Args:
        change: (U) -1, 0 or 1 of each observation.
        labels: (U) from 0.
    """
    sizes = np.maximum(np.bincount(labels), 1)
    means = np.bincount(labels, change) / sizes
    squares = np.bincount(labels, change**2) / sizes
    variance = np.maximum(squares - means**2, 1 / len(change) / sizes)  # as if one had changed
    error = np.sqrt(SHARED_GAIN * (variance / sizes).sum()) / len(sizes)
    half = float(stats.t.ppf((1 + LEVEL) / 2, max(len(change) - len(sizes), 1)) * error)
    return float(means.mean()) - half, float(means.mean()) + half
