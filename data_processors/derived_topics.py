"""Topics for texts without labels: TF-IDF, then NMF or k-means, named by their top terms."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from ..configs.errors import UserError
from ..configs.schema_corpus import Topics

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

SAMPLE_DOCUMENTS = 20_000
MAX_TERMS = 20_000
BATCH_DOCUMENTS = 1024
NAME_TERMS = 3


def derive_topics(
    texts: Callable[[], Iterable[str]], num_documents: int, config: Topics, seed: int
) -> tuple[np.ndarray, list[str]]:
    """Fits topics on a sample and assigns every text to one.

    Args:
        texts: streams all texts, from the start at each call.
        num_documents: how many there are.
        config: method and number of topics.
        seed: of the initialisation.

    Returns:
        topic of each text (D,), −1 for one without any known term, and the topics' names: their
        strongest terms joined by "_". Topics that no text got are left out.

    Raises:
        UserError: too few texts or terms for so many topics.
    """
    # here and below: two seconds of imports that labelled texts need not wait for
    from sklearn.feature_extraction.text import TfidfVectorizer

    stride = -(-num_documents // SAMPLE_DOCUMENTS)
    sample = list(islice(texts(), 0, None, stride))
    vectorizer = TfidfVectorizer(
        max_features=MAX_TERMS,
        stop_words="english",
        token_pattern=r"(?u)\b[^\W\d_]{3,}\b",
        sublinear_tf=True,
        min_df=2,
        max_df=0.5,
        dtype=np.float32,
    )
    try:
        weights = vectorizer.fit_transform(sample)
    except ValueError as error:
        raise _too_little(config, len(sample), 0) from error
    if min(weights.shape) < config.num_derived:
        raise _too_little(config, *weights.shape)
    scores_of, term_weights = _fit(weights, config, seed)
    topic = np.concatenate(
        [_assign(vectorizer.transform(batch), scores_of) for batch in _batches(texts())]
    )
    terms = vectorizer.get_feature_names_out()
    used = [index for index in range(config.num_derived) if np.any(topic == index)]
    names = _unique(
        ["_".join(terms[np.argsort(-term_weights[i], kind="stable")[:NAME_TERMS]]) for i in used]
    )
    place = np.full(config.num_derived + 1, -1)
    place[used] = np.arange(len(used))
    return place[topic], names


def _fit(
    weights: "csr_matrix", config: Topics, seed: int
) -> "tuple[Callable[[csr_matrix], np.ndarray], np.ndarray]":
    """Returns (documents, terms) → scores (documents, topics), and term weights (topics, terms)."""
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.decomposition import NMF

    if config.derive == "nmf":
        nmf = NMF(config.num_derived, init="nndsvda", random_state=seed, max_iter=200, tol=1e-3)
        nmf.fit(weights)
        return nmf.transform, nmf.components_
    kmeans = MiniBatchKMeans(config.num_derived, n_init=3, batch_size=4096, random_state=seed)
    kmeans.fit(weights)
    return lambda batch: -kmeans.transform(batch), kmeans.cluster_centers_


def _assign(weights: "csr_matrix", scores_of: "Callable[[csr_matrix], np.ndarray]") -> np.ndarray:
    topic = scores_of(weights).argmax(axis=1)
    topic[np.diff(weights.indptr) == 0] = -1
    return topic


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    stream = iter(texts)
    while batch := list(islice(stream, BATCH_DOCUMENTS)):
        yield batch


def _unique(names: list[str]) -> list[str]:
    """Numbers names that repeat."""
    return [
        name if names.count(name) == 1 else f"{name}_{names[:place].count(name) + 1}"
        for place, name in enumerate(names)
    ]


def _too_little(config: Topics, num_documents: int, num_terms: int) -> UserError:
    return UserError(
        f"corpus.topics.num_derived={config.num_derived}: {num_documents} documents with "
        f"{num_terms} terms that recur are too few for so many topics"
    )
