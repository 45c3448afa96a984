"""Source `hub`: a dataset of the Hugging Face hub, streamed: it is never downloaded whole."""

from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...configs.errors import UserError, unknown_choice
from ...configs.locks import writing
from ...configs.manifest import digest
from ...configs.schema_corpus import HubSource
from ..documents import Document, Wanted
from .records import Columns, to_document
from .streams import Stream

if TYPE_CHECKING:
    from datasets import IterableDataset

CONNECT_TIMEOUT_S = 10.0


def read_hub(source: HubSource, wanted: Wanted, seed: int) -> Iterator[Document]:
    """Yields documents of the topics to keep, up to the limit, shuffled as `source.shuffle` says.

    What was read is kept in the cache of the hub's datasets: a stream that broke off, or of which
    more is wanted, goes on from there.

    Raises:
        UserError: no network, no such dataset or column, or a stream that breaks off.
    """
    columns = Columns(
        source.text_column,
        source.topic_column,
        source.date_column,
        source.group_column,
        source.metadata_columns,
    )
    dataset = _open(source)
    labels = _label_names(dataset, source)

    def convert(row: Mapping[str, Any], place: str) -> Document | None:
        where = f"{source.dataset} row {place}"
        columns.check(row, where)
        if labels is not None and columns.topic is not None:
            row = {**row, columns.topic: _label(labels, row[columns.topic])}
        name = f"{source.split}-{place}"
        document = to_document(row, columns, name=name, source=source.dataset, where=where)
        kept = not source.keep_topics or document.topic in source.keep_topics
        return document if kept else None

    folder = stream_folder(source, seed)
    stream = Stream(dataset, convert, folder, buffer=source.shuffle, seed=seed)
    with writing(folder, f"the stream of {source.dataset}"):
        yield from _up_to(source, stream.documents(), wanted)


def _up_to(source: HubSource, documents: Iterator[Document], wanted: Wanted) -> Iterator[Document]:
    num_yielded = 0
    while num_yielded < source.max_documents:
        try:
            document = next(documents)
        except StopIteration:
            return
        except UserError:
            raise
        except Exception as error:  # the hub's clients raise some twenty unrelated types
            raise _failed(source, error) from error
        if document.topic is None or wanted(document.topic):
            yield document
            num_yielded += 1
    if isinstance(documents, Generator):
        documents.close()  # keeps where it stands


def stream_folder(source: HubSource, seed: int) -> Path:
    """Where what was read of a stream is kept: one folder per dataset, columns and shuffle."""
    from datasets import config

    settings = source.model_dump(mode="json", exclude={"max_documents"})
    key = digest([settings, seed if source.shuffle else None])
    return Path(config.HF_DATASETS_CACHE) / "moescope_streams" / key


def fingerprint_hub(source: HubSource) -> dict[str, str]:
    """Returns dataset and revision; without `source.revision` a later push goes unnoticed."""
    return {"hub": f"{source.dataset}@{source.revision or 'newest when read'}"}


def _open(source: HubSource) -> "IterableDataset":
    # imported here: half a second that no other source needs
    from datasets import load_dataset
    from huggingface_hub import HfApi

    try:
        if not Path(source.dataset).is_dir():  # asks once; the loader would retry for 24 s
            HfApi().dataset_info(
                source.dataset, revision=source.revision, timeout=CONNECT_TIMEOUT_S
            )
        return load_dataset(
            source.dataset,
            source.config,
            split=source.split,
            revision=source.revision,
            streaming=True,
        )
    except Exception as error:  # the hub's clients raise some twenty unrelated types
        raise _failed(source, error) from error


def _failed(source: HubSource, error: Exception) -> UserError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return UserError(
        f"source.dataset={source.dataset}: cannot read it from the hub ({reason}); check the name, "
        "split and network (what was read is kept, the same command goes on), or use a source that "
        "needs none: pydocs, sotu, synthetic, files"
    )


def _label_names(dataset: "IterableDataset", source: HubSource) -> list[str] | None:
    """Returns the names behind an integer topic column, if the dataset declares them."""
    feature = (dataset.features or {}).get(source.topic_column or "")
    names: list[str] | None = getattr(feature, "names", None)
    for topic in source.keep_topics:
        if names is not None and topic not in names:
            raise unknown_choice("source.keep_topics", topic, names)
    return names


def _label(names: list[str], value: Any) -> str | None:
    """Names a label; the hub's convention for "no label" is −1."""
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else None
